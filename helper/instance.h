/* The instance directory: where the socket is, who lives, and which processes a dead watchdog left behind. */
#ifndef HP_INSTANCE_H
#define HP_INSTANCE_H

#include "apr-glue/settings.h"

typedef struct hp_instance_t hp_instance_t;

/* Makes a fresh directory below `registry` (made too, if its parent is there), or takes over `path`, a predecessor's. Directories of dead
 * instances in the registry are removed, and their processes ended. On failure *preason is a sentence that names the path. */
apr_status_t hp_instance_create(hp_instance_t **pinstance, const char *registry, const char *path, apr_pool_t *p, const char **preason)
    AG_MUST_CHECK;

/* The directory. */
const char *hp_instance_path(const hp_instance_t *instance);
/* The paths of the sockets for requests and for administrators. */
const char *hp_instance_socket(const hp_instance_t *instance);
const char *hp_instance_admin(const hp_instance_t *instance);

/* 1 if directory and lock are where they were, and the directory's owner and mode are right. */
int hp_instance_intact(const hp_instance_t *instance);
/* Makes the directory anew at the same path, or puts it right, after somebody removed or changed it. */
apr_status_t hp_instance_remake(hp_instance_t *instance) AG_MUST_CHECK;

/* Writes properties.json, by which tools tell instances apart; anybody may read it. `core`: the core's pid. */
apr_status_t hp_instance_describe(hp_instance_t *instance, const ag_settings_t *settings, pid_t core) AG_MUST_CHECK;
/* Writes the same again, if it is not there any more. */
apr_status_t hp_instance_redescribe(const hp_instance_t *instance) AG_MUST_CHECK;

/* Notes that the live process `pid` is ours, for a successor that finds it; returns its start time, which forget wants back. */
unsigned long long hp_instance_note(hp_instance_t *instance, pid_t pid);
void hp_instance_forget(hp_instance_t *instance, pid_t pid, unsigned long long started);
/* The number of processes that a watchdog before us noted and that are still there: they were told to end when it died, and may be finishing
 * requests, so end_inherited (SIGKILL) comes some seconds later. What is left of those that have ended gets SIGTERM. */
int hp_instance_inherit(hp_instance_t *instance);
void hp_instance_end_inherited(hp_instance_t *instance);

/* Removes a folder of this name in the directory with all that an application has put there; that there is none does not matter. */
void hp_instance_drop(hp_instance_t *instance, const char *name);

/* Removes the directory and what is in it. */
void hp_instance_remove(hp_instance_t *instance);

#endif
