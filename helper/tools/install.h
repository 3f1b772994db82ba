/* passenger-install-apache2-module, which setup scripts call: here everything is installed when it is there. */
#ifndef HP_INSTALL_H
#define HP_INSTALL_H

#include "helper/tools/client.h"

/* argv[0] is the program's name; returns the exit code: 1 if the module or the helper is missing. */
int hp_install_run(const hp_client_t *client, int argc, const char **argv);

#endif
