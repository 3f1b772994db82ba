/* The parent's side of the helper's life: started once per Apache, kept over graceful and restart, watched, started again,
 * stopped.
 *
 * Everything that must outlive a reload lives in retained memory, because the module's code may come back at another address.
 * No function here blocks longer than it says, and none keeps Apache from starting. */
#ifndef MP_HELPER_H
#define MP_HELPER_H

#include "mod_passenger/mp.h"

/* Registers post_config (late, so that daemons forked by other modules do not inherit our sockets), child_init and monitor. */
void mp_helper_register_hooks(apr_pool_t *p);

/* The core's socket, or NULL as long as no helper has ever been ready. Children see at once what the parent learns. */
const char *mp_helper_socket(void);

/* No link could be made for the reason `rv`, for `took` so far. 1: a moment later it may be possible. 0: the log says why it is not, and if that is
 * because this is a child whose parent has died, its client is to be sent away. */
int mp_helper_may_return(request_rec *r, apr_status_t rv, apr_interval_time_t took);

/* Grows by one with every configuration that the parent has read. */
uint32_t mp_helper_generation(void);

#endif
