/* The first line of a script: why the kernel says "no such file" of one that is there. */
#ifndef HP_SHEBANG_H
#define HP_SHEBANG_H

#include "apr-glue/base.h"

/* NULL if nothing is wrong with it, or it is no script, or cannot be read; else what is wrong, to stand behind its name and a blank. */
const char *hp_shebang_problem(const char *script, apr_pool_t *p);

#endif
