#include "mod_passenger/accesslog.h"

#include <apr_strings.h>
#include <http_protocol.h>
#include <stdlib.h>

#define APP      "PASSENGER_APP"
#define PID      "PASSENGER_PID"
#define QUEUE    "PASSENGER_QUEUE_TIME"
#define RESPONSE "PASSENGER_RESPONSE_TIME"
#define ATTEMPTS "PASSENGER_ATTEMPTS"

static const char *const notes[] = {APP, PID, QUEUE, RESPONSE, ATTEMPTS};

/* -- whether anybody wants to know -- */

static int names_note(const ap_directive_t *at)
{
    apr_size_t i;

    for (; at; at = at->next) {
        for (i = 0; at->args && i < AG_LEN(notes); i++) {
            if (strstr(at->args, notes[i]))
                return 1;
        }
        if (names_note(at->first_child))
            return 1;
    }
    return 0;
}

static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    (void) plog;
    (void) ptemp;
    (void) s;
    apr_pool_userdata_setn(names_note(ap_conftree) ? APP : NULL, "mod_passenger.accesslog", NULL, pconf);
    return OK;
}

int mp_accesslog_asks(const server_rec *s)
{
    void *asks = NULL;

    apr_pool_userdata_get(&asks, "mod_passenger.accesslog", s->process->pconf);
    return asks != NULL;
}

/* -- what is told -- */

static void set(request_rec *r, const char *name, apr_uint64_t value)
{
    apr_table_setn(r->notes, name, apr_psprintf(r->pool, "%" APR_UINT64_T_FMT, value));
}

static apr_uint64_t before(const request_rec *r, const char *name)
{
    const char *value = apr_table_get(r->notes, name);

    return value ? strtoul(value, NULL, 10) : 0;
}

void mp_accesslog_note(request_rec *r, const mp_map_app_t *app, const mp_link_t *link)
{
    ag_marks_told_t told;

    if (!mp_link_asks(link->pool))
        return;
    apr_table_setn(r->notes, APP, app->group);
    if (!mp_link_told(link, &told))
        return;
    if (told.pid) {
        set(r, PID, told.pid);
        set(r, RESPONSE, before(r, RESPONSE) + told.served);
    }
    set(r, QUEUE, before(r, QUEUE) + told.waited);
    set(r, ATTEMPTS, before(r, ATTEMPTS) + told.attempts);
}

/* A page instead of the response (ErrorDocument) is a request of its own, and the one that is logged. */
static int log_transaction(request_rec *r)
{
    request_rec *from = NULL;
    apr_size_t i;

    if (!r->next)
        return DECLINED;
    for (; r->next; r = r->next)
        from = apr_table_get(r->notes, APP) ? r : from;
    if (!from || apr_table_get(r->notes, APP))
        return DECLINED;
    for (i = 0; i < AG_LEN(notes); i++) {
        const char *value = apr_table_get(from->notes, notes[i]);

        if (value)
            apr_table_setn(r->notes, notes[i], value);
    }
    return DECLINED;
}

void mp_accesslog_register_hooks(apr_pool_t *p)
{
    (void) p;
    ap_hook_post_config(post_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_log_transaction(log_transaction, NULL, NULL, APR_HOOK_FIRST);
}
