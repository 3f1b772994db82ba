/* The way to a file, one folder at a time: who could make the same name lead elsewhere a moment later. */
#ifndef AG_PATH_H
#define AG_PATH_H

#include "apr-glue/base.h"
#include <apr_tables.h>
#include <sys/stat.h>

/* Something that was passed: a folder, or a symbolic link that was followed. */
typedef struct {
    const char *name; /* as far as it was walked */
    uint32_t owner;
    int link;
    int open; /* a folder in which everybody may replace what belongs to others: writable for all, and not sticky */
} ag_path_step_t;

typedef struct {
    struct stat st; /* of what stands at the end; of a symbolic link itself */
    const char *target; /* of that link, as it is written there; NULL: the end is none */
    apr_array_header_t *steps; /* of ag_path_step_t; the last one stands for the end */
} ag_path_t;

enum {
    AG_PATH_FOLLOW = 1, /* a symbolic link at the end too */
    AG_PATH_CLIMB = 2   /* ".." may be in the name */
};

/* Walks `name`, which is absolute; `how`: of the above. Nothing is opened but folders, and those only to pass. */
apr_status_t ag_path_walk(ag_path_t *path, const char *name, int how, apr_pool_t *p) AG_MUST_CHECK;

/* 1 if a part of the path is "..", but for the first one of a path that is relative. */
int ag_path_climbs(const char *name);

/* The first step that belongs neither to root nor to `uid`, or NULL. `links`: of the symbolic links only. */
const ag_path_step_t *ag_path_foreign(const ag_path_t *path, uint32_t uid, int links);

/* Reads the regular file `name` (symbolic links are followed) whole, with a NUL behind it. EPERM if somebody other than root and `uid` could have
 * put it there or may write to it; E2BIG if it is larger than `max` bytes; EILSEQ if there is a NUL in it. */
apr_status_t ag_path_read(char **ptext, const char *name, uint32_t uid, apr_size_t max, apr_pool_t *p) AG_MUST_CHECK;

/* The first folder on the way to `path`, which is absolute, that this process may not enter, or NULL. */
const char *ag_path_closed(const char *path, apr_pool_t *p);

#endif
