#include "mod_passenger/htaccess.h"

#include "apr-glue/link.h"
#include "mod_passenger/once.h"

#include <apr_file_info.h>
#include <apr_strings.h>

/* The name may lead elsewhere by now: its folder belongs to the author. A descriptor can't. Where another module opened the file there is only
 * the name; then a link counts as its own owner's. */
mp_htaccess_t *mp_htaccess_open(cmd_parms *cmd, apr_status_t (*getstr)(void *, apr_size_t, void *))
{
    const ap_configfile_t *f = cmd->config_file;
    mp_htaccess_t *file = apr_pcalloc(cmd->pool, sizeof *file);
    apr_finfo_t info;
    apr_status_t rv;

    if (!f || !f->name)
        return NULL;
    if (getstr && f->getstr == getstr)
        rv = apr_file_info_get(&info, APR_FINFO_USER, f->param);
    else
        rv = apr_stat(&info, f->name, APR_FINFO_USER | APR_FINFO_LINK, cmd->temp_pool);
    if (rv != APR_SUCCESS)
        return NULL;
    file->name = apr_pstrdup(cmd->pool, f->name);
    file->owner = (uint32_t) info.user;
    return file;
}

static int allowed(const apr_array_header_t *words, const char *wanted)
{
    int i, found = !words;

    for (i = 0; words && i < words->nelts; i++) {
        const char *word = APR_ARRAY_IDX(words, i, const char *);

        if (strcmp(word, "None") == 0)
            return 0;
        found |= strcmp(word, "All") == 0 || strcmp(word, wanted) == 0;
    }
    return found;
}

static const char *place_of(const request_rec *r, const mp_htaccess_t *file, int id)
{
    return apr_psprintf(r->pool, "%s:%u", file->name, file->lines[id]);
}

static void warn_ignored(const request_rec *r, const mp_htaccess_t *file, const ag_options_row_t *row)
{
    const char *place = place_of(r, file, row->id);

    if (mp_once(place))
        MP_RLOG(APLOG_WARNING, 0, r, "PSG1700", "%s at %s is ignored: "
                "the server's configuration does not let .htaccess files use it (PassengerAllowOverride %s)",
                row->directive, place, ag_options_class(row));
}

static void warn_capped(const request_rec *r, const mp_htaccess_t *file, const ag_options_row_t *row, const ag_options_t *admin)
{
    const char *place = place_of(r, file, row->id);

    if (mp_once(place))
        MP_RLOG(APLOG_WARNING, 0, r, "PSG1701", "%s at %s is more than the server's configuration allows, which is %d; that is used", row->directive,
                place, *(const int *) (const void *) ((const char *) admin + row->offset));
}

/* Adds what one section sets; from[id] becomes the file that has the last word. */
static void add(ag_options_t *o, const mp_htaccess_t **from, const mp_htaccess_layer_t *layer, const ag_options_t *admin, const request_rec *r)
{
    int id;

    for (id = 0; id < AG_OPTIONS_COUNT; id++) {
        const ag_options_row_t *row = ag_options_row(id);

        if (!ag_options_is_set(layer->options, id))
            continue;
        if (layer->file && !allowed(admin->allow_override, ag_options_class(row))) {
            warn_ignored(r, layer->file, row);
            continue;
        }
        ag_options_copy(o, layer->options, id);
        from[id] = layer->file;
        if (layer->file && (row->flags & AG_OPTIONS_CAP) && (ag_options_is_set(admin, id) || (row->flags & AG_OPTIONS_FIRM)) &&
            ag_options_cap(o, admin, row))
            warn_capped(r, layer->file, row, admin);
    }
}

static void find_author(mp_htaccess_result_t *result, const mp_htaccess_t *const *from)
{
    int id;

    result->author = AG_LINK_NO_AUTHOR;
    for (id = 0; id < AG_OPTIONS_COUNT; id++) {
        if (!from[id] || from[id]->owner == 0 || ag_options_row(id)->scope != AG_OPTIONS_SCOPE_APP)
            continue;
        if (result->author == AG_LINK_NO_AUTHOR) {
            result->author = from[id]->owner;
            result->file = from[id]->name;
        } else if (from[id]->owner != result->author) {
            result->other = from[id]->name;
        }
    }
}

void mp_htaccess_resolve(mp_htaccess_result_t *result, const apr_array_header_t *layers, const request_rec *r, apr_pool_t *p)
{
    const mp_htaccess_t *from[AG_OPTIONS_COUNT] = {NULL};
    ag_options_t *admin = ag_options_create(p);
    int i;

    memset(result, 0, sizeof *result);
    for (i = 0; i < layers->nelts; i++) {
        const mp_htaccess_layer_t *layer = &APR_ARRAY_IDX(layers, i, mp_htaccess_layer_t);

        if (!layer->file)
            admin = ag_options_merge(p, admin, layer->options);
    }
    result->options = ag_options_create(p);
    for (i = 0; i < layers->nelts; i++)
        add(result->options, from, &APR_ARRAY_IDX(layers, i, mp_htaccess_layer_t), admin, r);
    find_author(result, from);
}
