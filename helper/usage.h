/* What a process uses, as the kernel tells everybody. */
#ifndef HP_USAGE_H
#define HP_USAGE_H

#include "apr-glue/base.h"
#include <apr_time.h>

typedef struct {
    apr_uint64_t rss, vmsize; /* resident memory, address space: bytes */
    apr_interval_time_t cpu; /* processor time since its start, its threads together */
    apr_interval_time_t wanted; /* of its first thread: such time, and the time that it waited for a processor; 0: the kernel does not tell */
} hp_usage_t;

/* Reads /proc/<pid>/stat and schedstat (proc(5)). ENOENT and the like when there is no such process, or none that we may see. */
apr_status_t hp_usage_read(hp_usage_t *usage, pid_t pid) AG_MUST_CHECK;

/* Bytes of memory that its descendants have beyond what it has itself: never more than that, since what a process shares with the parent that it
 * was forked from is not counted, nor are files. Those whose parents have ended are not found. Reads /proc/<pid>/task/<tid>/children, two files more
 * of each of them, and 256 of them at most. */
apr_uint64_t hp_usage_below(pid_t pid);

#endif
