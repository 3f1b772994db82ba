#include "helper/reserve.h"
#include <fcntl.h>
#include <unistd.h>

#define SIZE 8 /* two messages with all they may carry, or a pair of sockets and its child */

struct hp_reserve_t {
    int fds[SIZE], nfds;
};

hp_reserve_t *hp_reserve_create(apr_pool_t *p)
{
    hp_reserve_t *reserve = apr_pcalloc(p, sizeof *reserve);

    hp_reserve_take(reserve);
    return reserve;
}

void hp_reserve_give(hp_reserve_t *reserve)
{
    while (reserve && reserve->nfds > 0)
        close(reserve->fds[--reserve->nfds]);
}

void hp_reserve_take(hp_reserve_t *reserve)
{
    while (reserve && reserve->nfds < SIZE) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return;
        reserve->fds[reserve->nfds++] = fd;
    }
}
