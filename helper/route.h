/* Which process gets a request. */
#ifndef HP_ROUTE_H
#define HP_ROUTE_H

#include "apr-glue/base.h"

/* A process that can take one more request, as routing sees it. */
typedef struct {
    uint32_t generation;
    int worn;
    int in_flight;
} hp_route_candidate_t;

/* 1 if `a` is to be preferred over `b`: of the newest generation, unless it is much busier; then the one with the fewest requests in flight;
 * then one that is not worn. Among equals neither is, so that the first stays chosen and later ones can fall idle and be ended. */
int hp_route_better(const hp_route_candidate_t *a, const hp_route_candidate_t *b);

#endif
