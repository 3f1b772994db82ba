/* What becomes of a process of ours that gets no memory. */
#ifndef AG_MEMORY_H
#define AG_MEMORY_H

#include "apr-glue/base.h"

/* Says so, and ends the process (SIGABRT): its guard starts another, which is the one way back that is tested. */
void ag_memory_out(void) __attribute__((noreturn));

/* From now on that is also what APR's pools do: those that are made later. Before any other pool is made. */
void ag_memory_guard(void);

#endif
