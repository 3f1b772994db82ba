/* What every part of the core shares: made once in core.c, passed down, never global. */
#ifndef HP_CONTEXT_H
#define HP_CONTEXT_H

#include "apr-glue/http_head.h"
#include "apr-glue/log.h"
#include "apr-glue/loop.h"
#include "apr-glue/marks.h"
#include "apr-glue/settings.h"
#include "helper/bulk.h"
#include "helper/chan.h"
#include "helper/spool.h"
#include <apr_hash.h>

#define HP_CONTEXT_SCRATCH (HP_SPOOL_MEMORY - 4096) /* what is read at once always fits into a spool's memory, framed */

typedef struct {
    apr_pool_t *p;    /* as long as the process */
    ag_loop_t *loop;
    hp_chan_t *watchdog;
    hp_reserve_t *reserve; /* of descriptors */
    hp_chan_t *looker; /* NULL while there is none */
    const ag_settings_t *settings; /* the latest; replaced as a whole */
    hp_spool_store_t store;
    hp_bulk_t *bulk;      /* for the callback that runs; NULL: what comes is read */
    const char *core_id;  /* of this core, for hello lines */
    ag_marks_t *marks;    /* of links; NULL: the kernel has none */
    const char *data_dir; /* where loaders and pages are */
    uint64_t next_id;     /* of the next process */
    apr_hash_t *processes; /* of hp_process_t, by id */
    int stopping;
    ag_log_rate_t spool_full, fd_exhausted, order_refused; /* of lines that many requests can be the cause of */
    char *scratch;        /* HP_CONTEXT_SCRATCH bytes for the callback that runs */
    ag_http_head_t *head; /* the same, for one parsed head */
    unsigned char key[16]; /* for digests of options */
} hp_context_t;

#endif
