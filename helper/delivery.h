/* A response whose body is a file that the application names (X-Sendfile, X-Accel-Redirect): its head waits until the file is open, then both go
 * to the module, the file as a descriptor. The application's process has nothing to do with it. */
#ifndef HP_DELIVERY_H
#define HP_DELIVERY_H

#include "apr-glue/http_head.h"
#include "helper/conn.h"
#include "helper/group.h"

/* If the response names a file: makes its head one without a body, and without the fields that only the server is told or that speak of the body, and
 * returns the file's name, malloc'ed; *pkind is as courier.h wants it. Else NULL, and the head is as it was. */
char *hp_delivery_find(ag_http_head_t *head, char *pkind);

/* Takes over the link, whose request has got no answer yet, and `name`. `head` is what hp_head_write made of that head. `keep` as in hp_conn_done. */
void hp_delivery_begin(hp_conn_t *conn, hp_group_t *group, char kind, char *name, const struct iovec *head, int keep);

#endif
