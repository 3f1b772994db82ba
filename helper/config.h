/* How an application is to be run: what requests say about it, and what its group makes of that. */
#ifndef HP_CONFIG_H
#define HP_CONFIG_H

#include "apr-glue/options.h"

#define HP_CONFIG_SEEN 8 /* variants that are remembered */

/* As a request says it. */
typedef struct {
    const char *key; /* in the pool, which makes it of name, folder and author */
    const char *name, *app_root, *kind, *startup_file, *base_uri;
    uint32_t author; /* as in spec.h */
    const ag_options_t *options;
    apr_uint64_t digest;        /* of all options */
    apr_uint64_t spawn_digest;  /* of those that processes are started with */
    uint32_t config_generation; /* of the configuration that this was read from */
} hp_config_t;

/* As a group keeps it. */
typedef struct {
    hp_config_t now; /* lives in now_pool, but for name and key */
    int most;        /* processes at once; 0: any number */
    apr_pool_t *p, *now_pool;
    apr_uint64_t seen[HP_CONFIG_SEEN]; /* digests that came with this config_generation */
    int nseen;
} hp_config_kept_t;

/* Copies what it needs into pools below `p`. */
void hp_config_keep(hp_config_kept_t *kept, const hp_config_t *config, apr_pool_t *p);
/* A request came with this one. It is taken if it is of a newer configuration, or a variant that comes for the first time; 1 if processes
 * must then be started anew. */
int hp_config_update(hp_config_kept_t *kept, const hp_config_t *config);
/* Forgets which variants came, but for the one that counts: each may count again, once. */
void hp_config_forget(hp_config_kept_t *kept);
/* 1 if visitors may see why it does not start. */
int hp_config_friendly(const hp_config_t *config);
/* 1 if old processes serve until new ones are ready. */
int hp_config_rolling(const hp_config_t *config);

#endif
