/* One connection to an application process, kept for the next request where both sides allow. */
#ifndef HP_APP_LINK_H
#define HP_APP_LINK_H

#include "helper/process.h"

typedef struct hp_app_link_t {
    LIST_ENTRY(hp_app_link_t) entry; /* the process's idle ones */
    hp_process_t *process;
    int fd;
    ag_loop_io_t *io;
    ag_loop_io_cb_t cb; /* of who uses it; NULL while idle */
    void *baton;
    int kept; /* it has served before, so its other end may have gone unnoticed */
    int tcp;  /* its end does not tell whether the other side has read what was sent */
    apr_time_t kept_at;
} hp_app_link_t;

/* An idle connection, or a new one; `cb` hears of it, first of reading only. */
apr_status_t hp_app_link_get(hp_app_link_t **plink, hp_process_t *process, ag_loop_io_cb_t cb, void *baton) AG_MUST_CHECK;
/* Closes idle connections that the process may be about to close, as some FastCGI programs do whatever they were asked: for a request that can't
 * be sent twice. */
void hp_app_link_doubt(hp_process_t *process);
/* Gives back a connection on which nothing is outstanding. */
void hp_app_link_keep(hp_app_link_t **plink);
/* Closes what nobody uses; how many. */
int hp_app_link_spare(hp_context_t *ctx);
/* Accepts a pointer to NULL; nulls. */
void hp_app_link_close(hp_app_link_t **plink);

#endif
