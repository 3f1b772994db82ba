/* What the files by which deployers talk to us say: tmp/restart.txt and friends. Looked at, never opened or read. */
#ifndef HP_STATFILE_H
#define HP_STATFILE_H

#include "apr-glue/base.h"

typedef struct {
    uint64_t restart; /* modification time of restart.txt, microseconds; 0: not there */
    int always;       /* always_restart.txt is there */
    uint64_t startup; /* changes when the startup file does; 0: not there */
    uint64_t env;     /* the same of the environment file */
    uint32_t owner;   /* of the application's folder; ~0: the folder is not there */
} hp_statfile_t;

/* What is looked at; all but the first are relative to that or absolute. */
typedef struct {
    const char *app_root, *restart_dir, *startup_file, *env_file; /* the last two: "" for none */
} hp_statfile_names_t;

/* Root looks with the rights of the folder's owner, so what that user
 * may not see is not there; in a folder of root's own it follows no symbolic link of anybody else. A file that is a symbolic link itself is not
 * followed. May take as long as a file system wants. Changes rights of the calling thread only, which are as before when it returns. */
void hp_statfile_look(hp_statfile_t *found, const hp_statfile_names_t *names, apr_pool_t *ptemp);

#endif
