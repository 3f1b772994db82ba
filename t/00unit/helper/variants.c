#include "helper/variants.c"
#include "t/lib/tap.h"

int main(void)
{
    hp_variants_t one = {.n = 0}, other = {.n = 0};

    is_int(hp_variants_get(&one, 0), 0, "nothing is known, not even 0");
    hp_variants_put(&one, 1, 11);
    is_int(hp_variants_get(&one, 1), 11, "what was put");
    is_int(hp_variants_get(&other, 1), 0, "... on that link alone");
    hp_variants_put(&one, 1, 12);
    is_int(hp_variants_get(&one, 1), 12, "it may mean something else later");
    for (uint64_t i = 2; i <= HP_VARIANTS; i++)
        hp_variants_put(&one, i, 10 + i);
    is_int(hp_variants_get(&one, 2), 12, "as many are kept as there is room for");
    is_int(hp_variants_get(&one, 1), 12, "... all of them");
    hp_variants_put(&one, 99, 100);
    is_int(hp_variants_get(&one, 1), 0, "the oldest goes first");
    is_int(hp_variants_get(&one, 99), 100, "... for the newest");
    return done_testing();
}
