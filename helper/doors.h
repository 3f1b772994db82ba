/* The listening sockets in the instance directory: one for requests, one for administrators. They outlive cores. */
#ifndef HP_DOORS_H
#define HP_DOORS_H

#include "apr-glue/settings.h"
#include "helper/instance.h"
#include <sys/types.h>

/* The file that is a socket's name: another with the same path leads elsewhere. */
typedef struct {
    dev_t dev;
    ino_t ino;
} hp_doors_name_t;

typedef struct {
    hp_instance_t *instance;
    int requests, admin; /* -1: not there yet */
    hp_doors_name_t requests_name, admin_name;
} hp_doors_t;

enum {
    HP_DOORS_REQUESTS = 1,
    HP_DOORS_ADMIN = 2,
    HP_DOORS_FOLDER = 4 /* the directory, which may hold its old sockets */
};

/* Makes what is missing: sockets of which there is no descriptor. *preason is a sentence then. */
apr_status_t hp_doors_open(hp_doors_t *doors, const ag_settings_t *settings, apr_pool_t *p, const char **preason) AG_MUST_CHECK;

/* Looks whether everything is what it was, with the owner and the rights that it had, and makes it so again: directory, sockets, description.
 * *pmade: what is new (HP_DOORS_...). */
apr_status_t hp_doors_look(hp_doors_t *doors, const ag_settings_t *settings, int *pmade) AG_MUST_CHECK;

#endif
