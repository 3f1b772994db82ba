#include "helper/route.c"
#include "t/lib/tap.h"

int main(void)
{
    static const struct {
        const char *what;
        hp_route_candidate_t a, b;
        int better;
    } cases[] = {
        {"less busy", {1, 0, 1}, {1, 0, 2}, 1},
        {"busier", {1, 0, 2}, {1, 0, 1}, 0},
        {"an equal, so that the first stays", {1, 0, 1}, {1, 0, 1}, 0},
        {"newer, though busier", {2, 0, 5}, {1, 0, 0}, 1},
        {"older, though idle", {1, 0, 0}, {2, 0, 5}, 0},
        {"newer, but much busier", {2, 0, 50}, {1, 0, 0}, 0},
        {"older, but much less busy", {1, 0, 0}, {2, 0, 50}, 1},
        {"fresh among equals", {1, 0, 1}, {1, 1, 1}, 1},
        {"worn, but less busy", {1, 1, 0}, {1, 0, 1}, 1},
        {"less busy among the newest", {2, 0, 4}, {2, 0, 5}, 1},
    };

    for (apr_size_t i = 0; i < AG_LEN(cases); i++)
        is_int(hp_route_better(&cases[i].a, &cases[i].b), cases[i].better, "%s: %s", cases[i].what, cases[i].better ? "better" : "not better");
    return done_testing();
}
