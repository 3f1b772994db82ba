/* The environment that the configuration gives to an application: what holds at its base URI, whichever of its requests asks. */
#ifndef MP_ENV_H
#define MP_ENV_H

#include "mod_passenger/map.h"
#include <apr_tables.h>

/* What was found lately, for all threads of a child. */
typedef struct mp_env_cache_t mp_env_cache_t;

mp_env_cache_t *mp_env_cache_create(apr_pool_t *pchild);

/* Variables as AG_OPTIONS_KEYVAL keeps them, or NULL; they live as long as the request. Sections and .htaccess files that cover only a part of the
 * application have no part in them. An edited .htaccess is noticed within a second. Runs no hook of another module but those that any
 * subrequest runs to come into being. */
apr_array_header_t *mp_env_find(mp_env_cache_t *cache, request_rec *r, const mp_map_app_t *app);

#endif
