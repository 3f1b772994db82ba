#include "helper/delivery.h"
#include "apr-glue/link.h"
#include "apr-glue/memory.h"
#include "helper/courier.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_SHOWN 255 /* of a file, for its type; no file system has longer ones */

typedef struct {
    hp_courier_ask_t ask; /* first: the courier hands it back */
    hp_conn_t *conn;
    hp_group_t *group;
    int keep;
    char *name;
    apr_size_t len; /* of the head, which follows */
} delivery_t;

/* -- the head -- */

static int names_file(const ag_http_head_field_t *f, char *pkind)
{
    int path = ag_http_head_is(f, "x-sendfile");

    if (!path && !ag_http_head_is(f, "x-accel-redirect"))
        return 0;
    *pkind = path ? HP_PORTER_PATH : HP_PORTER_URI;
    return 1;
}

/* What is said of a body that is not sent (a middleware may have compressed it), what the module makes anew, and what only we say to it. */
static int is_dropped(const ag_http_head_field_t *f)
{
    char kind;

    return names_file(f, &kind) || ag_http_head_is(f, "content-length") || ag_http_head_is(f, "content-encoding") ||
           ag_http_head_is(f, "content-range") || ag_http_head_is(f, AG_LINK_FILE_FIELD);
}

char *hp_delivery_find(ag_http_head_t *head, char *pkind)
{
    const ag_http_head_field_t *found = NULL;
    int i, n = 0;
    char *name;

    for (i = 0; i < head->nfields && !found; i++) {
        if (head->fields[i].value_len > 0 && names_file(&head->fields[i], pkind))
            found = &head->fields[i];
    }
    if (!found || head->status < 200 || head->status == 204 || head->status == 304)
        return NULL;
    name = strndup(found->value, found->value_len);
    if (!name)
        ag_memory_out();
    for (i = 0; i < head->nfields; i++) {
        if (!is_dropped(&head->fields[i]))
            head->fields[n++] = head->fields[i];
    }
    head->nfields = n;
    /* The file is whole, whatever part of it the application meant to send: which parts are wanted is httpd's to see. */
    if (head->status == 206) {
        head->status = 200;
        head->reason_len = 0;
    }
    return name;
}

/* -- the link -- */

static void end(delivery_t *d)
{
    hp_group_unuse(d->group);
    free(d->name);
    free(d);
}

static apr_size_t on_body(void *request, const char *data, apr_size_t len)
{
    (void)request;
    (void)data;
    return len;
}

static int on_client_left(void *request)
{
    (void)request;
    return 0;
}

static void on_orphan(void *request)
{
    delivery_t *d = request;

    hp_courier_forget(&d->ask);
    end(d);
}

static void on_drained(void *request)
{
    (void)request;
}

static const hp_conn_handler_t handler = {NULL, on_body, NULL, on_client_left, on_orphan, on_drained};

static void on_done(hp_courier_ask_t *ask, char answer, int fd)
{
    delivery_t *d = (delivery_t *)ask;
    int status = answer == HP_PORTER_OPEN ? 200 : answer == HP_PORTER_MISSING ? 404 : answer == HP_PORTER_REFUSED ? 403 : 503;
    const char *slash = strrchr(d->name, '/'), *last = slash ? slash + 1 : d->name;
    int shown = (int)strcspn(last, ask->kind == HP_PORTER_URI ? "?#" : "");
    char fields[NAME_SHOWN + 80];
    struct iovec iov[2] = {{.iov_base = d + 1, .iov_len = d->len - 2}, {.iov_base = fields}};

    if (shown > NAME_SHOWN)
        shown = 0;
    iov[1].iov_len = (size_t)snprintf(fields, sizeof fields, "Content-Length: 0\r\n" AG_LINK_FILE ": %d %.*s\r\n\r\n", status, shown, last);
    hp_conn_write_file(d->conn, iov, 2, fd);
    hp_conn_done(d->conn, d->keep);
    end(d);
}

void hp_delivery_begin(hp_conn_t *conn, hp_group_t *group, char kind, char *name, const struct iovec *head, int keep)
{
    delivery_t *d = malloc(sizeof *d + head->iov_len);
    hp_group_facts_t facts;

    if (!d)
        ag_memory_out();
    memset(d, 0, sizeof *d);
    memcpy(d + 1, head->iov_base, head->iov_len);
    d->len = head->iov_len;
    d->conn = conn;
    d->group = group;
    d->keep = keep;
    d->name = name;
    d->ask = (hp_courier_ask_t){.kind = kind, .name = name, .done = on_done};
    hp_group_use(group);
    hp_conn_hand_over(conn, &handler, d);
    hp_group_facts(group, &facts);
    hp_courier_fetch(facts.courier, &d->ask);
}
