/* What is said once, however often its cause comes back. */
#ifndef MP_ONCE_H
#define MP_ONCE_H

#include "mod_passenger/mp.h"

/* A new table, which lives as long as `pconf`: all children that are born meanwhile share it. In pre_config; APR_SUCCESS or why there is none. */
apr_status_t mp_once_init(apr_pool_t *pconf);

/* 1 the first time that anybody asks about this text since the configuration was read. When the table is full nothing is said any more: tenants,
 * who can make causes, must not fill the log. */
int mp_once(const char *text);

#endif
