/* What the files by which deployers talk to us say: tmp/restart.txt and friends. Looked at with root's rights, never read. */
#ifndef HP_STATFILE_H
#define HP_STATFILE_H

#include "apr-glue/base.h"

typedef struct {
    uint64_t restart; /* modification time of restart.txt, microseconds; 0: not there */
    int always;       /* always_restart.txt is there */
    uint64_t startup; /* changes when the startup file does; 0: not there */
} hp_statfile_t;

/* `restart_dir` and `startup_file` are relative to `app_root` or absolute. Neither opens a file nor follows one that is a symlink. */
void hp_statfile_look(hp_statfile_t *found, const char *app_root, const char *restart_dir, const char *startup_file);

#endif
