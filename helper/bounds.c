#include "helper/bounds.h"
#include <apr_hash.h>
#include <apr_strings.h>
#include <string.h>

#define FOLDERS_MAX 10000 /* known at a time: a lie about the folder must not be dear */
#define RECENT      64

typedef struct {
    const char *name;
    ag_options_t *most;
} folder_t;

struct hp_bounds_t {
    apr_pool_t *parent, *p;
    apr_hash_t *folders; /* of folder_t */
    folder_t *recent[RECENT]; /* to hash a whole path for each request would be felt */
    ag_options_t *defaults, *said; /* said: of one call */
};

hp_bounds_t *hp_bounds_create(apr_pool_t *p)
{
    hp_bounds_t *bounds = apr_pcalloc(p, sizeof *bounds);

    bounds->parent = p;
    bounds->defaults = ag_options_create(p);
    bounds->said = ag_options_create(p);
    hp_bounds_forget(bounds);
    return bounds;
}

void hp_bounds_forget(hp_bounds_t *bounds)
{
    if (bounds->p)
        apr_pool_destroy(bounds->p);
    apr_pool_create(&bounds->p, bounds->parent);
    bounds->folders = apr_hash_make(bounds->p);
    memset(bounds->recent, 0, sizeof bounds->recent);
}

static int *number_of(const ag_options_t *o, const ag_options_row_t *row)
{
    return (int *)((uintptr_t)o + row->offset);
}

int hp_bounds_number(const ag_options_t *o, const ag_options_row_t *row)
{
    return *number_of(o, row);
}

/* What stands for "the configuration does not say": any number, or no more than everybody has. */
static int unsaid(const hp_bounds_t *bounds, const ag_options_row_t *row)
{
    if (row->flags & AG_OPTIONS_FIRM)
        return *number_of(bounds->defaults, row);
    return row->flags & AG_OPTIONS_ENDLESS ? 0 : row->hi;
}

static folder_t *look(hp_bounds_t *bounds, const ag_settings_t *settings, const char *app_root)
{
    folder_t *folder = apr_palloc(bounds->p, sizeof *folder);
    ag_options_t *said = bounds->said;

    folder->name = apr_pstrdup(bounds->p, app_root);
    folder->most = ag_options_create(bounds->p);
    for (int id = 0; id < AG_OPTIONS_COUNT; id++) {
        const ag_options_row_t *row = ag_options_row(id);
        int none = unsaid(bounds, row);
        if (!(row->flags & AG_OPTIONS_CAP))
            continue;
        *number_of(said, row) = ag_settings_most(settings, row->field, app_root, (row->flags & AG_OPTIONS_ENDLESS) != 0, none);
        if (*number_of(said, row) != none || (row->flags & AG_OPTIONS_FIRM))
            ag_options_copy(folder->most, said, id);
    }
    apr_hash_set(bounds->folders, folder->name, APR_HASH_KEY_STRING, folder);
    return folder;
}

const ag_options_t *hp_bounds_find(hp_bounds_t *bounds, const ag_settings_t *settings, const char *app_root)
{
    apr_size_t len = strlen(app_root);
    unsigned slot = ((unsigned)len * 33 + (unsigned char)app_root[len / 2]) * 33 + (len ? (unsigned char)app_root[len - 1] : 0);
    folder_t *folder = bounds->recent[slot %= RECENT];

    if (folder && strcmp(folder->name, app_root) == 0)
        return folder->most;
    folder = apr_hash_get(bounds->folders, app_root, (apr_ssize_t)len);
    if (!folder) {
        if (apr_hash_count(bounds->folders) >= FOLDERS_MAX)
            hp_bounds_forget(bounds);
        folder = look(bounds, settings, app_root);
    }
    bounds->recent[slot] = folder;
    return folder->most;
}

const ag_options_row_t *hp_bounds_lower(ag_options_t *o, const ag_options_t *most)
{
    const ag_options_row_t *first = NULL;

    /* For each request: only the few that are set are looked at. */
    for (apr_uint64_t left = most->set; left; left &= left - 1) {
        const int id = __builtin_ctzll(left);
        const ag_options_row_t *row = ag_options_row(id);
        if (!(row->flags & AG_OPTIONS_CAP) || !ag_options_cap(o, most, row))
            continue;
        ag_options_copy(o, most, id);
        if (!first)
            first = row;
    }
    return first;
}
