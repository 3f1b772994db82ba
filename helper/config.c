#include "helper/config.h"
#include "helper/kind.h"
#include <apr_strings.h>
#include <string.h>

static void take(hp_config_kept_t *kept, const hp_config_t *config)
{
    apr_pool_t *p, *old = kept->now_pool;
    const char *packed, *name = kept->now.name, *key = kept->now.key;
    apr_size_t len;

    apr_pool_create(&p, kept->p);
    packed = ag_options_pack(config->options, p, &len);
    kept->now = *config;
    kept->now.name = name;
    kept->now.key = key;
    kept->now.app_root = apr_pstrdup(p, config->app_root);
    kept->now.kind = apr_pstrdup(p, config->kind);
    kept->now.startup_file = apr_pstrdup(p, config->startup_file);
    kept->now.base_uri = apr_pstrdup(p, config->base_uri);
    kept->now.options = ag_options_unpack(p, packed, len);
    kept->most = hp_kind_alone(config->kind) ? 1 : kept->now.options->max_instances;
    kept->now_pool = p;
    if (old)
        apr_pool_destroy(old);
}

/* 1 if this variant came before; it is remembered. Requests of one configuration may differ (per location): the first to come decides, and
 * a variant that comes for the first time (an edited .htaccess) takes over, so that two of them never replace each other for ever. */
static int seen_before(hp_config_kept_t *kept, apr_uint64_t digest)
{
    for (int i = 0; i < kept->nseen && i < HP_CONFIG_SEEN; i++) {
        if (kept->seen[i] == digest)
            return 1;
    }
    kept->seen[kept->nseen++ % HP_CONFIG_SEEN] = digest;
    return 0;
}

void hp_config_keep(hp_config_kept_t *kept, const hp_config_t *config, apr_pool_t *p)
{
    memset(kept, 0, sizeof *kept);
    kept->p = p;
    kept->now.name = apr_pstrdup(p, config->name);
    kept->now.key = apr_pstrdup(p, config->key);
    take(kept, config);
    seen_before(kept, config->digest);
}

int hp_config_update(hp_config_kept_t *kept, const hp_config_t *config)
{
    const hp_config_t *now = &kept->now;
    int newer = config->config_generation > now->config_generation, differs;

    if (config->config_generation < now->config_generation || (!newer && config->digest == now->digest))
        return 0;
    if (newer)
        kept->nseen = 0;
    if (seen_before(kept, config->digest) && !newer)
        return 0;
    differs = config->spawn_digest != now->spawn_digest || strcmp(config->app_root, now->app_root) != 0 ||
              strcmp(config->startup_file, now->startup_file) != 0 || strcmp(config->kind, now->kind) != 0;
    take(kept, config);
    return differs;
}

void hp_config_forget(hp_config_kept_t *kept)
{
    kept->nseen = 0;
    seen_before(kept, kept->now.digest);
}

static int development(const hp_config_t *config)
{
    return strcmp(config->options->app_env, "development") == 0;
}

int hp_config_friendly(const hp_config_t *config)
{
    return config->options->friendly_error_pages >= 0 ? config->options->friendly_error_pages : development(config);
}

int hp_config_rolling(const hp_config_t *config)
{
    const ag_options_t *o = config->options;

    if (o->resist_deployment_errors > 0)
        return 1; /* what is kept must be there */
    return o->rolling_restarts >= 0 ? o->rolling_restarts : !development(config);
}
