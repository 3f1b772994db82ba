/* Which application a request belongs to. */
#ifndef MP_MAP_H
#define MP_MAP_H

#include "mod_passenger/script.h"

/* An application, as found for one request; all strings live as long as the request. */
typedef struct {
    const char *root;     /* absolute */
    const char *base_uri; /* "" at the root of the site */
    const char *kind;     /* a name in apr-glue/kind.def, "generic", or whatever PassengerAppType says */
    const char *startup;  /* startup file; NULL for generic applications whose command is configured */
    const char *group;    /* name of its processes */
    mp_script_t script;   /* of PHP's applications */
    uint32_t author;      /* whose .htaccess file, or symbolic link to the public folder, decided, or AG_LINK_NO_AUTHOR */
    apr_array_header_t *env; /* what mp_env_find says, once the application is to answer */
} mp_map_app_t;

/* What was found lately, for all threads of a child. */
typedef struct mp_map_cache_t mp_map_cache_t;

mp_map_cache_t *mp_map_cache_create(apr_pool_t *pchild);

/* OK with *papp; DECLINED if there is no application, or none is wanted; HTTP_INTERNAL_SERVER_ERROR if that can't be seen for lack of
 * permissions, HTTP_FORBIDDEN if two users' .htaccess files or symbolic links want one each, which is logged then. */
int mp_map_find(mp_map_cache_t *cache, request_rec *r, const mp_map_app_t **papp);

/* The public folder of the application at this base URI. */
const char *mp_map_public_dir(request_rec *r, const char *base_uri);

/* 1 if it is told what CGI programs are told, and answers as they do. */
int mp_map_is_cgi(const mp_map_app_t *app);

/* 1 if the file that r->filename names is called like a startup file. Cheap, and mostly 0. */
int mp_map_looks_like_startup(const request_rec *r);

/* 1 if that file is a startup file of the application: its source, which nobody may download. */
int mp_map_is_startup(request_rec *r, const mp_map_app_t *app);

#endif
