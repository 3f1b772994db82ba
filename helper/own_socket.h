/* The socket that an application without a loader makes in its folder in the instance directory. */
#ifndef HP_OWN_SOCKET_H
#define HP_OWN_SOCKET_H

#include "apr-glue/settings.h"

/* An O_PATH descriptor of it, which leads there whatever happens to the folder; -1: `path` is not that of process `id`, or there is no socket of
 * user `uid` (-1: whoever has the folder). Nothing else is looked at: a path of an application's own choice could lead to where a look never ends. */
int hp_own_socket_open(const char *path, const ag_settings_t *settings, uint64_t id, uid_t uid);

#endif
