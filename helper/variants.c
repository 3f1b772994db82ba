#include "helper/variants.h"

void hp_variants_put(hp_variants_t *variants, uint64_t name, uint64_t id)
{
    unsigned at = variants->n % HP_VARIANTS;

    for (unsigned i = 0; i < HP_VARIANTS; i++) {
        if (variants->ring[i].id && variants->ring[i].name == name)
            at = i;
    }
    if (at == variants->n % HP_VARIANTS)
        variants->n++;
    variants->ring[at].name = name;
    variants->ring[at].id = id;
}

uint64_t hp_variants_get(const hp_variants_t *variants, uint64_t name)
{
    for (unsigned i = 0; i < HP_VARIANTS; i++) {
        if (variants->ring[i].name == name)
            return variants->ring[i].id;
    }
    return 0;
}
