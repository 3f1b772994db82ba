/* APR's pools over malloc: each allocation is one of its own, so that the sanitizer sees every use after the end of a pool and
 * every byte too far. They take the place of libapr's own, for libapr too. */
#include "t/sim/sim.h"
#include <apr_strings.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct block_t {
    struct block_t *next;
    size_t size;
} block_t;

typedef struct cleanup_t {
    struct cleanup_t *next;
    const void *data;
    apr_status_t (*run)(void *data);
} cleanup_t;

struct apr_pool_t {
    apr_pool_t *parent;
    LIST_HEAD(, apr_pool_t) children;
    LIST_ENTRY(apr_pool_t) entry;
    block_t *blocks;
    cleanup_t *cleanups;
};

static long pools, bytes;

long sim_memory_pools(void)
{
    return pools;
}

long sim_memory_bytes(void)
{
    return bytes;
}

apr_status_t apr_pool_create_ex(apr_pool_t **pp, apr_pool_t *parent, apr_abortfunc_t abort_fn, apr_allocator_t *allocator)
{
    apr_pool_t *p = calloc(1, sizeof *p);

    (void)abort_fn;
    (void)allocator;
    if (!p)
        abort();
    p->parent = parent;
    if (parent)
        LIST_INSERT_HEAD(&parent->children, p, entry);
    pools++;
    *pp = p;
    return APR_SUCCESS;
}

void apr_pool_clear(apr_pool_t *p)
{
    cleanup_t *cleanup;
    apr_pool_t *child;
    block_t *block;

    while ((child = LIST_FIRST(&p->children)))
        apr_pool_destroy(child);
    while ((cleanup = p->cleanups)) {
        p->cleanups = cleanup->next;
        cleanup->run((void *)(uintptr_t)cleanup->data);
    }
    while ((block = p->blocks)) {
        p->blocks = block->next;
        bytes -= (long)block->size;
        free(block);
    }
}

void apr_pool_destroy(apr_pool_t *p)
{
    apr_pool_clear(p);
    if (p->parent)
        LIST_REMOVE(p, entry);
    pools--;
    free(p);
}

void *apr_palloc(apr_pool_t *p, apr_size_t size)
{
    block_t *block = malloc(sizeof *block + size);

    if (!block)
        abort();
    block->next = p->blocks;
    block->size = size;
    p->blocks = block;
    bytes += (long)size;
    return block + 1;
}

#undef apr_pcalloc
void *apr_pcalloc(apr_pool_t *p, apr_size_t size);
void *apr_pcalloc(apr_pool_t *p, apr_size_t size)
{
    return memset(apr_palloc(p, size), 0, size);
}

void apr_pool_cleanup_register(apr_pool_t *p, const void *data, apr_status_t (*run)(void *), apr_status_t (*child)(void *))
{
    cleanup_t *cleanup = apr_palloc(p, sizeof *cleanup);

    (void)child;
    *cleanup = (cleanup_t){p->cleanups, data, run};
    p->cleanups = cleanup;
}

void apr_pool_cleanup_kill(apr_pool_t *p, const void *data, apr_status_t (*run)(void *))
{
    for (cleanup_t **at = &p->cleanups; *at; at = &(*at)->next) {
        if ((*at)->data == data && (*at)->run == run) {
            *at = (*at)->next;
            return;
        }
    }
}

apr_status_t apr_pool_cleanup_null(void *data)
{
    (void)data;
    return APR_SUCCESS;
}

char *apr_pvsprintf(apr_pool_t *p, const char *fmt, va_list args)
{
    va_list again;
    char *text;
    int len;

    va_copy(again, args);
    len = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    text = apr_palloc(p, (apr_size_t)len + 1);
    vsnprintf(text, (size_t)len + 1, fmt, args);
    return text;
}

char *apr_psprintf(apr_pool_t *p, const char *fmt, ...)
{
    va_list args;
    char *text;

    va_start(args, fmt);
    text = apr_pvsprintf(p, fmt, args);
    va_end(args);
    return text;
}
