/* The helper's half of the handshake: what a loader is told (loaders/PROTOCOL.md). */
#ifndef HP_GREETING_H
#define HP_GREETING_H

#include "helper/context.h"
#include "helper/spec.h"

/* All of it, the empty line at its end included, for the process `id`, which may become a preloader or not; lives in p. */
const char *hp_greeting_make(const hp_context_t *ctx, const hp_spec_t *spec, uint64_t id, int may_preload, apr_pool_t *p);

#endif
