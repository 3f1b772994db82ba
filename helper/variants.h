/* Which options a link's requests mean by the names that their sender gives them (AG_LINK_DIGEST). Senders lie: what one of them calls by a name is
 * nobody else's business, or a single bad child of Apache could change what all others' requests mean, and for longer than it lives. */
#ifndef HP_VARIANTS_H
#define HP_VARIANTS_H

#include "apr-glue/base.h"

#define HP_VARIANTS 16 /* the module counts on 8 (mod_passenger/link.h) */

/* The last ones, of one link; all zero: none. */
typedef struct {
    struct {
        uint64_t name, id;
    } ring[HP_VARIANTS];
    unsigned n;
} hp_variants_t;

/* From now on `name` (a hash of it) means the options `id`, which is not 0. */
void hp_variants_put(hp_variants_t *variants, uint64_t name, uint64_t id);

/* What it means, or 0. */
uint64_t hp_variants_get(const hp_variants_t *variants, uint64_t name);

#endif
