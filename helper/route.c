#include "helper/route.h"

/* A process that takes any number of requests must not get all those that older ones shared, while its equals are still starting. */
#define SPILL 8

int hp_route_better(const hp_route_candidate_t *a, const hp_route_candidate_t *b)
{
    if (a->generation > b->generation)
        return a->in_flight <= b->in_flight + SPILL;
    if (a->generation < b->generation)
        return b->in_flight > a->in_flight + SPILL;
    if (a->in_flight != b->in_flight)
        return a->in_flight < b->in_flight;
    return b->worn && !a->worn;
}
