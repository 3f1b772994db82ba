/* The listening sockets in the instance directory: one for requests, one for administrators. They outlive cores. */
#ifndef HP_DOORS_H
#define HP_DOORS_H

#include "apr-glue/settings.h"
#include "helper/instance.h"

typedef struct {
    hp_instance_t *instance;
    int requests, admin; /* -1: not there yet */
} hp_doors_t;

enum {
    HP_DOORS_REQUESTS = 1,
    HP_DOORS_ADMIN = 2
};

/* Makes what is missing: sockets of which there is no descriptor. *preason is a sentence then. */
apr_status_t hp_doors_open(hp_doors_t *doors, const ag_settings_t *settings, apr_pool_t *p, const char **preason) AG_MUST_CHECK;

/* Looks whether everything is where it was, and makes what somebody removed: directory, sockets, description. *pmade: the sockets that are new
 * (HP_DOORS_...), which is 0 also when nothing had to be done. */
apr_status_t hp_doors_look(hp_doors_t *doors, const ag_settings_t *settings, int *pmade) AG_MUST_CHECK;

#endif
