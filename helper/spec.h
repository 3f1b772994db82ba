/* What is to be started: all that root's half of a spawn needs to know, written by the core, trusted by nobody. */
#ifndef HP_SPEC_H
#define HP_SPEC_H

#include "apr-glue/frame.h"
#include "apr-glue/link.h"
#include "apr-glue/options.h"

/* What the process does for the application, as its user. */
typedef enum {
    HP_SPEC_APP,    /* it is the application */
    HP_SPEC_SCRIBE, /* it writes its log */
    HP_SPEC_PORTER  /* it opens its files */
} hp_spec_errand_t;

typedef struct {
    const char *group;        /* the application's group */
    const char *app_root;     /* absolute */
    const char *kind;         /* row of apr-glue/kind.def */
    const char *startup_file; /* relative to app_root, or absolute */
    const char *base_uri;     /* "" at the root */
    uint32_t author;          /* the only user whose application it may be; AG_LINK_NO_AUTHOR: any */
    uint32_t generation;      /* of the group's code */
    uint32_t number;          /* of the process within its group */
    uint32_t errand;          /* hp_spec_errand_t */
    const ag_options_t *options;
} hp_spec_t;

/* A copy of everything in pool `p`. */
hp_spec_t *hp_spec_copy(const hp_spec_t *spec, apr_pool_t *p);

/* Appends all fields. */
void hp_spec_put(ag_frame_t *f, const hp_spec_t *spec);
/* Lives in the reader's pool; check with ag_frame_end. Paths that are not absolute, or hold "/../", make the reader bad. */
hp_spec_t *hp_spec_get(ag_frame_reader_t *in);

#endif
