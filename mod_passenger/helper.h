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

/* 1 in a child whose parent has died: nobody restarts the helper then. Costs one getppid(2). */
int mp_helper_parent_gone(void);

/* Grows by one with every configuration that the parent has read. */
uint32_t mp_helper_generation(void);

#endif
