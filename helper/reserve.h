/* Descriptors kept for what must go on when all others are in use: messages that carry some, new roles, administrators. */
#ifndef HP_RESERVE_H
#define HP_RESERVE_H

#include "apr-glue/base.h"

typedef struct hp_reserve_t hp_reserve_t;

/* Takes its descriptors at once; as long as the process. */
hp_reserve_t *hp_reserve_create(apr_pool_t *p);
/* Gives them free. The caller uses what it needs, and calls take. NULL is allowed. */
void hp_reserve_give(hp_reserve_t *reserve);
/* Takes as many as there are, up to all of them. NULL is allowed. */
void hp_reserve_take(hp_reserve_t *reserve);

#endif
