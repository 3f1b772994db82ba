/* Why a process did not start, as one sentence: the true cause first, whatever else there is to say in the details. Pure. */
#ifndef HP_CAUSE_H
#define HP_CAUSE_H

#include "apr-glue/base.h"

typedef struct {
    const char *kind, *app_root; /* of the application */
    const char *interpreter; /* that was run, or NULL: its user's login shell did not get that far, or there is none */
    int greeted;             /* the loader has begun */
    const char *error;       /* the loader's message, or NULL */
    const char *elsewhere;   /* begins a line of the words that names the cause, or NULL */
    const char *words;       /* what the application has printed, or NULL */
    int words_cut;           /* there was more */
    int asked;               /* where it is */
    apr_size_t stacks;       /* where in the words the answer to that begins */
} hp_cause_facts_t;

/* Of one that ended; `status` as of wait(2). Lives in p. */
const char *hp_cause_of_end(const hp_cause_facts_t *facts, int status, apr_pool_t *p);

/* Of one that was not ready after so many seconds. */
const char *hp_cause_of_timeout(const hp_cause_facts_t *facts, int seconds, apr_pool_t *p);

/* What there is to say beyond that: the loader's message, and what was printed before it (`words` has both); or all that was printed. */
const char *hp_cause_details(const char *error, const char *words, apr_pool_t *p);

#endif
