#include "mod_passenger/env.h"

#include "apr-glue/clock.h"
#include "mod_passenger/conf.h"

#include <apr_hash.h>
#include <apr_strings.h>
#include <apr_thread_mutex.h>
#include <http_protocol.h>
#include <http_request.h>
#include <stdlib.h>

#define SLOTS 128
#define KEEP  apr_time_from_sec(1)

/* What holds at one base URI. */
typedef struct {
    char *key;   /* malloc'ed; NULL: free */
    char *pairs; /* malloc'ed: each ends with a NUL, the last with two */
    apr_size_t len;
    apr_time_t at;
} slot_t;

struct mp_env_cache_t {
    apr_thread_mutex_t *mutex;
    slot_t slots[SLOTS];
};

mp_env_cache_t *mp_env_cache_create(apr_pool_t *pchild)
{
    mp_env_cache_t *cache = apr_pcalloc(pchild, sizeof(*cache));

    if (apr_thread_mutex_create(&cache->mutex, APR_THREAD_MUTEX_DEFAULT, pchild) != APR_SUCCESS)
        return NULL;
    return cache;
}

static slot_t *slot_of(mp_env_cache_t *cache, const char *key)
{
    apr_ssize_t len = APR_HASH_KEY_STRING;

    return &cache->slots[apr_hashfunc_default(key, &len) % SLOTS];
}

/* A copy in `p` of what the slot says of this key, or NULL. */
static char *remembered(mp_env_cache_t *cache, const char *key, apr_pool_t *p, apr_time_t now)
{
    slot_t *slot = slot_of(cache, key);
    char *pairs = NULL;

    apr_thread_mutex_lock(cache->mutex);
    if (slot->key && strcmp(slot->key, key) == 0 && now >= slot->at && now < slot->at + KEEP)
        pairs = apr_pmemdup(p, slot->pairs, slot->len);
    apr_thread_mutex_unlock(cache->mutex);
    return pairs;
}

static void remember(mp_env_cache_t *cache, const char *key, const char *pairs, apr_size_t len)
{
    slot_t *slot = slot_of(cache, key);
    char *key_copy = strdup(key), *copy = malloc(len);

    if (!key_copy || !copy) {
        free(key_copy);
        free(copy);
        return;
    }
    memcpy(copy, pairs, len);
    apr_thread_mutex_lock(cache->mutex);
    free(slot->key);
    free(slot->pairs);
    *slot = (slot_t){.key = key_copy, .pairs = copy, .len = len, .at = ag_clock_now()};
    apr_thread_mutex_unlock(cache->mutex);
}

/* The configuration that a request for the base URI would have. Only the walks are run: what the URI's access rules or rewriting say is of no
 * interest, and may log. */
static apr_array_header_t *look(request_rec *r, const mp_map_app_t *app, const char *public_dir)
{
    request_rec *base = apr_pmemdup(r->pool, r, sizeof(*r));

    base->main = r;
    base->uri = apr_pstrcat(r->pool, app->base_uri, "/", NULL);
    base->filename = apr_pstrcat(r->pool, public_dir, "/", NULL);
    base->canonical_filename = base->filename;
    base->path_info = NULL;
    base->finfo.filetype = APR_NOFILE;
    base->finfo.valid = 0;
    base->notes = apr_table_make(r->pool, 1);
    base->per_dir_config = r->server->lookup_defaults;
    base->request_config = ap_create_request_config(r->pool);
    ap_run_create_request(base);
    (void) ap_directory_walk(base);
    (void) ap_location_walk(base);
    return mp_conf_options(base)->env_var;
}

static char *join(apr_pool_t *p, const apr_array_header_t *pairs, apr_size_t *plen)
{
    apr_array_header_t *text = apr_array_make(p, 256, 1);
    int i;

    for (i = 0; pairs && i < pairs->nelts; i++) {
        const char *at;
        for (at = APR_ARRAY_IDX(pairs, i, const char *); *at; at++)
            APR_ARRAY_PUSH(text, char) = *at;
        APR_ARRAY_PUSH(text, char) = '\0';
    }
    APR_ARRAY_PUSH(text, char) = '\0';
    *plen = (apr_size_t) text->nelts;
    return text->elts;
}

static apr_array_header_t *split(apr_pool_t *p, char *text)
{
    apr_array_header_t *pairs = *text ? apr_array_make(p, 8, sizeof(char *)) : NULL;

    for (; *text; text += strlen(text) + 1)
        APR_ARRAY_PUSH(pairs, char *) = text;
    return pairs;
}

apr_array_header_t *mp_env_find(mp_env_cache_t *cache, request_rec *r, const mp_map_app_t *app)
{
    const ag_options_t *server = mp_conf_section(r->server->lookup_defaults);
    apr_array_header_t *own = mp_conf_options(r)->env_var;
    const char *key, *public_dir;
    apr_size_t len;
    char *pairs;

    /* What holds at the base URI holds for all below it, so where nothing was added, nothing was added there. */
    if (own == (server ? server->env_var : NULL))
        return own;
    public_dir = mp_map_public_dir(r, app->base_uri);
    key = apr_psprintf(r->pool, "%pp %s %s", (void *) r->server, app->base_uri, public_dir);
    pairs = remembered(cache, key, r->pool, ag_clock_now());
    if (!pairs) {
        pairs = join(r->pool, look(r, app, public_dir), &len);
        remember(cache, key, pairs, len);
    }
    return split(r->pool, pairs);
}
