#include "helper/route.h"

int hp_route_better(const hp_route_candidate_t *a, const hp_route_candidate_t *b)
{
    if (a->generation != b->generation)
        return a->generation > b->generation;
    return a->in_flight < b->in_flight;
}
