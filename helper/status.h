/* What there is, as JSON, for one who asks: applications and processes, the core itself, requests. Reads and changes nothing. */
#ifndef HP_STATUS_H
#define HP_STATUS_H

#include "helper/conn.h"
#include "helper/pool.h"
#include <jansson.h>

/* Who looks. Somebody other than an administrator sees the groups whose folder is theirs, or of which a process runs as them; the rest is left
 * out of every count too. */
typedef struct {
    int all;
    uid_t uid;
} hp_status_viewer_t;

/* 1 if the viewer may know that the group is there. */
int hp_status_visible(hp_group_t *group, const hp_status_viewer_t *viewer);
/* 1 if `name` is what the documents below call the group. */
int hp_status_named(const hp_group_t *group, const char *name);

/* The documents are the caller's; text in them is valid UTF-8 without control characters, other bytes are written as \xNN (but for line ends
 * and tabs in "details"). Never NULL. */

/* Groups and their processes. */
json_t *hp_status_pool(hp_pool_t *pool, const hp_status_viewer_t *viewer);
/* The core: since when (`started`, of ag_loop_now), how loaded. */
json_t *hp_status_server(hp_pool_t *pool, const hp_conn_server_t *server, apr_time_t started, const hp_status_viewer_t *viewer);
/* Requests that are served or wait. */
json_t *hp_status_requests(hp_pool_t *pool, const hp_status_viewer_t *viewer);

#endif
