/* passenger-config validate-install. */
#ifndef HP_VALIDATE_H
#define HP_VALIDATE_H

#include "helper/tools/client.h"

/* argv[0] is the command's name; returns the exit code: 0 all is well, 1 something is wrong, 2 something deserves a look. */
int hp_validate_run(const hp_client_t *client, int argc, const char **argv);

#endif
