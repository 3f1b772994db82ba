/* A new version of the helper takes the old one's place in the same process: descriptors stay open, children stay children. */
#ifndef HP_UPGRADE_H
#define HP_UPGRADE_H

#include "apr-glue/frame.h"

/* Which file a program was when it was started. */
typedef struct {
    const char *path;
    uint64_t inode, changed;
} hp_upgrade_file_t;

/* Notes what `path` is now. */
void hp_upgrade_note(hp_upgrade_file_t *file, const char *path);
/* 1 if another program stands there now, whole and runnable. */
int hp_upgrade_due(const hp_upgrade_file_t *file);

/* Writes a descriptor that the next program needs and lets it survive; -1 is written as such. */
void hp_upgrade_put_fd(ag_frame_t *state, int fd);
/* Reads one, close-on-exec again. */
int hp_upgrade_get_fd(ag_frame_reader_t *in);

/* Becomes the program at `path` in the role watchdog, which finds `state`. Returns only on failure. */
apr_status_t hp_upgrade_exec(const char *path, const ag_frame_t *state);
/* The state that a predecessor left on descriptor `fd` (its number as text); the reader's bytes live in p. */
apr_status_t hp_upgrade_open(ag_frame_reader_t *in, const char *fd, apr_pool_t *p) AG_MUST_CHECK;

#endif
