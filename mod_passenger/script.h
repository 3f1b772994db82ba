/* Which PHP script a request is for. */
#ifndef MP_SCRIPT_H
#define MP_SCRIPT_H

#include "mod_passenger/mp.h"

/* All strings live as long as the request. */
typedef struct {
    const char *file;      /* absolute; NULL: no script, since the application is not PHP's */
    const char *name;      /* SCRIPT_NAME */
    const char *path_info; /* PATH_INFO; "" without one */
} mp_script_t;

/* 1 if what is called so is PHP's source: a script, or a copy of one (x.php~, x.php.bak, x.phps). Nobody gets that as text. Cheap. */
int mp_script_is_source(const char *name);

/* The script: the file that Apache has found, the index.php of a folder, else the front controller `front`, an absolute name. HTTP_FORBIDDEN,
 * which is logged, for source that is not to be run: copies, and scripts outside `public_dir`, the folder behind `base_uri`. */
int mp_script_find(mp_script_t *script, request_rec *r, const char *public_dir, const char *base_uri, const char *front);

/* 1 for a folder that has an index.php. */
int mp_script_is_index(const request_rec *r);

#endif
