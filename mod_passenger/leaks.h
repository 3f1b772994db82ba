/* Files of an application that lie where Apache serves files, because the document root is the application's folder or lies above it. */
#ifndef MP_LEAKS_H
#define MP_LEAKS_H

#include "mod_passenger/map.h"

/* The list, by letters. */
typedef struct mp_leaks_index_t mp_leaks_index_t;

mp_leaks_index_t *mp_leaks_index_create(apr_pool_t *p);

/* 1 if the request's file has a name that could be of such a file, or looks like a startup file's. Cheap, and mostly 0. */
int mp_leaks_suspect(const mp_leaks_index_t *index, const request_rec *r);

/* 1 if that file is a secret of the application's: leaks.def. The first time that a process meets one of an application it is logged, with
 * what to do. */
int mp_leaks_secret(const mp_leaks_index_t *index, request_rec *r, const mp_map_app_t *app);

#endif
