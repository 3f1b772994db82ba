#include "helper/parent.h"
#include "apr-glue/frame.h"
#include "apr-glue/log.h"
#include <errno.h>
#include <unistd.h>

void hp_parent_tell(uint32_t type, const char *text, int fd)
{
    apr_pool_t *ptemp;
    ag_frame_t *f;
    const char *data;
    apr_size_t len;

    apr_pool_create(&ptemp, NULL);
    f = ag_frame_create(ptemp, type);
    ag_frame_put_str(f, text);
    data = ag_frame_data(f, &len);
    (void)!ag_sock_send(HP_PARENT_FD, data, len, &fd, fd >= 0 ? 1 : 0);
    apr_pool_destroy(ptemp);
}

/* The parent does not know what is lost, and sends it once. */
apr_status_t hp_parent_receive(hp_reserve_t *reserve, char *buf, ag_parcel_t *parcel)
{
    apr_status_t rv;

    hp_reserve_give(reserve);
    rv = ag_parcel_recv(HP_PARENT_FD, buf, parcel);
    hp_reserve_take(reserve);
    if (rv == EMFILE || (rv == APR_SUCCESS && parcel->cut))
        ag_log(AG_LOG_ERROR, "PSG0034", "fd.exhausted: what Apache sent could not be taken; reload Apache when the helper has descriptors again");
    return rv == EMFILE ? APR_EAGAIN : rv;
}

void hp_parent_refuse(ag_parcel_t *parcel)
{
    while (parcel->nfds > 0)
        close(parcel->fds[--parcel->nfds]);
}
