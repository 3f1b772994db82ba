/* What an application without a loader is started by: the command that the server's configuration or the owner's Passengerfile.json names, the
 * owner's script, or Meteor's tool. */
#ifndef HP_COMMAND_H
#define HP_COMMAND_H

#include "apr-glue/appfile.h"
#include "apr-glue/settings.h"
#include "helper/kind.h"
#include "helper/spec.h"

/* Facts, found by a process that has the application's rights only. */
typedef struct {
    const ag_settings_t *settings;
    const hp_spec_t *spec;
    const hp_kind_t *kind;
    uint32_t uid;                /* of this process */
    int switched;                /* it is another user's than Apache's parent */
    apr_status_t file_rv;        /* of reading Passengerfile.json */
    const char *file_reason;
    const ag_appfile_t *file;
} hp_command_facts_t;

/* 1 if the kind and the options leave it to the startup file what is started: then its owner counts, as for every other startup file. */
int hp_command_by_file(const hp_kind_t *kind, const hp_spec_t *spec);

/* A program with its arguments, NULL at the end, which expects $PORT in its environment. NULL: *preason is a sentence for the administrator. All
 * in pool p. */
const char *const *hp_command_make(const hp_command_facts_t *facts, const char **preason, apr_pool_t *p);

#endif
