/* A pool's document (helper/status.h) in the forms that people and monitoring tools know: text, and XML. Pure. */
#ifndef HP_RENDER_H
#define HP_RENDER_H

#include "apr-glue/base.h"
#include <jansson.h>

/* As passenger-status shows it; `verbose` adds lines. In pool p. */
const char *hp_render_text(const json_t *pool, int verbose, apr_pool_t *p);

/* The elements of Passenger's `<info version="3">` that are true here; memory in KiB, points in time in microseconds since 1970. In pool p. */
const char *hp_render_xml(const json_t *pool, apr_pool_t *p);

#endif
