#include "helper/interim.h"
#include "apr-glue/memory.h"
#include <stdlib.h>

#define END_MAX (1024 * 1024) /* bytes of interim responses in a request: more will have no end */

/* 100 is between the core and the application: the client has been told already, or waits for nothing. */
int hp_interim_take(hp_exchange_t *r, const ag_http_head_t *head, apr_size_t len)
{
    char small[2048], *out = small;
    struct iovec iov;

    r->interim_len += (apr_off_t)len;
    if (r->interim_len > END_MAX) {
        hp_exchange_fail(r, "app.protocol: it sends interim responses (1xx) without end", 0);
        return 0;
    }
    if (!r->conn || !r->interim || head->status == 100 || r->interim_len > AG_LINK_INTERIM_MAX)
        return 1;
    if (HP_HEAD_ROOM(len) > sizeof small)
        out = malloc(HP_HEAD_ROOM(len));
    if (!out)
        ag_memory_out();
    iov.iov_base = out;
    iov.iov_len = hp_head_write(out, head, HP_HEAD_NONE, 0, NULL, "");
    hp_conn_write(r->conn, &iov, 1);
    if (out != small)
        free(out);
    return 1;
}
