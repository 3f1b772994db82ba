/* Why a process did not start, as one sentence: the true cause first, whatever else there is to say in the details. Pure. */
#ifndef HP_CAUSE_H
#define HP_CAUSE_H

#include "apr-glue/base.h"

typedef struct {
    const char *kind;  /* of the application */
    const char *error; /* the loader's message, or NULL */
    const char *words; /* what the application has printed, or NULL */
} hp_cause_facts_t;

/* Of one that ended; `status` as of wait(2). Lives in p. */
const char *hp_cause_of_end(const hp_cause_facts_t *facts, int status, apr_pool_t *p);

#endif
