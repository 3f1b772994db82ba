/* All applications: find or make a group, know the options that requests refer to, pass the watchdog's news on. */
#ifndef HP_POOL_H
#define HP_POOL_H

#include "helper/group.h"
#include "helper/variants.h"

typedef struct hp_pool_t hp_pool_t;

/* Options as requests name them. */
typedef struct {
    const ag_options_t *options;
    apr_uint64_t digest, spawn_digest; /* by this core's own key: what a client claims is only a name */
} hp_pool_options_t;

/* Empty, with its housekeeping on the loop. */
hp_pool_t *hp_pool_create(hp_context_t *ctx);
/* What it was created with. */
hp_context_t *hp_pool_context(const hp_pool_t *pool);

/* What a request says of its options. */
typedef struct {
    const char *name;     /* as its link calls them */
    const char *base64;   /* they themselves, called so from now on; NULL: they were sent before */
    const char *app_root;
    uint32_t config_generation; /* of the configuration that its sender has */
} hp_pool_asked_t;

/* These options, within the bounds of root's configuration for the folder. NULL: not known, or not understood. Valid until the next call. */
const hp_pool_options_t *hp_pool_options(hp_pool_t *pool, hp_variants_t *variants, const hp_pool_asked_t *asked);

/* The group, made if need be, and brought up to date; fills in config->key. NULL when there are too many. */
hp_group_t *hp_pool_group(hp_pool_t *pool, hp_config_t *config);

/* Once the context is stopping: requests that wait for a process which cannot come any more are refused. */
void hp_pool_stopping(hp_pool_t *pool);

/* A message of the watchdog that concerns processes or groups; 0 if it does not. Descriptors are taken. */
int hp_pool_news(hp_pool_t *pool, uint32_t type, ag_frame_reader_t *in, const int *fds, int nfds);

/* Lets `visit` see every application. */
void hp_pool_each(hp_pool_t *pool, void (*visit)(hp_group_t *group, void *baton), void *baton);

/* Limits may have changed. */
void hp_pool_settings_changed(hp_pool_t *pool);

#endif
