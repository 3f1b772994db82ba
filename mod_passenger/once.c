#include "mod_passenger/once.h"

#include <apr_general.h>
#include <apr_siphash.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define KEPT      "mod_passenger.once/1"
#define TEXTS_MAX 1024

typedef struct {
    unsigned char key[16]; /* so that nobody makes texts that stand for others */
    apr_uint64_t texts[TEXTS_MAX]; /* hashes */
} table_t;

static apr_status_t forget(void *table)
{
    munmap(table, sizeof(table_t));
    return APR_SUCCESS;
}

apr_status_t mp_once_init(apr_pool_t *pconf)
{
    table_t **kept = ap_retained_data_get(KEPT), *fresh = mmap(NULL, sizeof *fresh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (fresh == MAP_FAILED)
        return errno;
    apr_pool_cleanup_register(pconf, fresh, forget, apr_pool_cleanup_null);
    if (!kept)
        kept = ap_retained_data_create(KEPT, sizeof(table_t *));
    *kept = fresh;
    return apr_generate_random_bytes(fresh->key, sizeof fresh->key);
}

int mp_once(const char *text)
{
    table_t *table = *(table_t **) ap_retained_data_get(KEPT);
    apr_uint64_t hash = apr_siphash24(text, strlen(text), table->key) | 1;
    apr_size_t i;

    for (i = 0; i < TEXTS_MAX; i++) {
        apr_uint64_t *slot = &table->texts[(hash + i) % TEXTS_MAX], found = 0;

        if (__atomic_compare_exchange_n(slot, &found, hash, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            return 1;
        if (found == hash)
            return 0;
    }
    return 0;
}
