#include "apr-glue/memory.h"
#include "apr-glue/log.h"
#include <apr_pools.h>
#include <stdlib.h>

void ag_memory_out(void)
{
    ag_log(AG_LOG_CRIT, "PSG3800", "mem.exhausted: the system gives this process no more memory; it ends, and another is started");
    abort();
}

static int on_failed(int status)
{
    (void)status;
    ag_memory_out();
}

void ag_memory_guard(void)
{
    apr_pool_t *p;

    /* Pools inherit from their parents, and all from APR's own, whose name nobody else knows. */
    apr_pool_create(&p, NULL);
    apr_pool_abort_set(on_failed, apr_pool_parent_get(p));
    apr_pool_destroy(p);
}
