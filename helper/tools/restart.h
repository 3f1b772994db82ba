/* passenger-config restart-app. */
#ifndef HP_RESTART_H
#define HP_RESTART_H

#include "helper/tools/client.h"

/* argv[0] is the command's name; returns the exit code. */
int hp_restart_run(const hp_client_t *client, int argc, const char **argv);

#endif
