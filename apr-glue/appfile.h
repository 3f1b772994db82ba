/* Passengerfile.json: what an application's owner says about it in its folder. */
#ifndef AG_APPFILE_H
#define AG_APPFILE_H

#include "apr-glue/base.h"
#include <apr_tables.h>

#define AG_APPFILE_NAME "Passengerfile.json"
#define AG_APPFILE_MAX  (512 * 1024) /* bytes */

typedef struct {
    uid_t owner;                   /* of what was read */
    const char *command;           /* app_start_command, or NULL */
    const char *type, *startup;    /* app_type and startup_file, or NULL; without control characters */
    const apr_array_header_t *env; /* of const char *: "NAME=value", from envvars */
} ag_appfile_t;

/* Reads the file in `folder` with the caller's rights. It is JSON (RFC 8259), in which comments are blanks; members of other names are not
 * looked at. On failure *preason is a clause for a person that begins with the file's path and repeats no control character of it, in pool p,
 * and the status is that of the system, or APR_EGENERAL where the contents are wrong; without such a file it is an APR_STATUS_IS_ENOENT. */
apr_status_t ag_appfile_read(ag_appfile_t *file, const char *folder, const char **preason, apr_pool_t *p) AG_MUST_CHECK;

#endif
