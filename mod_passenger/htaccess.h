/* What .htaccess files say, and how much of it counts. Their authors are users of the machine, who may be each other's enemies. */
#ifndef MP_HTACCESS_H
#define MP_HTACCESS_H

#include "mod_passenger/mp.h"
#include "apr-glue/options.h"
#include <apr_tables.h>

/* One file. */
typedef struct {
    const char *name;
    uint32_t owner;                     /* of the file that was read, not of whatever has its name now */
    unsigned lines[AG_OPTIONS_COUNT];   /* where each option stands */
} mp_htaccess_t;

/* Options as the sections that hold for a request set them, in order; `file` is NULL for the administrator's own. */
typedef struct {
    const ag_options_t *options;
    const mp_htaccess_t *file;
} mp_htaccess_layer_t;

/* What counts. The author is the owner of the files that decide about the application: it can only run as that user, if it is neither root
 * nor AG_LINK_NO_AUTHOR (nobody but the administrator decided). `file` is one of theirs, `other` one of somebody else's: with two authors there
 * can be no application. */
typedef struct {
    ag_options_t *options;
    uint32_t author;
    const char *file, *other;
} mp_htaccess_result_t;

/* The file that is being read, or NULL if its owner cannot be found out. `getstr` is the function that reads lines of files that httpd
 * opens itself. */
mp_htaccess_t *mp_htaccess_open(cmd_parms *cmd, apr_status_t (*getstr)(void *, apr_size_t, void *));

/* Merges `layers` (mp_htaccess_layer_t). What PassengerAllowOverride keeps out is left out, numbers are lowered to what the administrator
 * says; each place is warned about once. */
void mp_htaccess_resolve(mp_htaccess_result_t *result, const apr_array_header_t *layers, const request_rec *r, apr_pool_t *p);

#endif
