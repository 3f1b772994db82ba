#include "helper/spec.h"
#include "apr-glue/path.h"
#include <apr_strings.h>
#include <string.h>

hp_spec_t *hp_spec_copy(const hp_spec_t *spec, apr_pool_t *p)
{
    hp_spec_t *copy = apr_pmemdup(p, spec, sizeof *spec);
    const char *packed;
    apr_size_t packed_len;

    copy->group = apr_pstrdup(p, spec->group);
    copy->app_root = apr_pstrdup(p, spec->app_root);
    copy->kind = apr_pstrdup(p, spec->kind);
    copy->startup_file = apr_pstrdup(p, spec->startup_file);
    copy->base_uri = apr_pstrdup(p, spec->base_uri);
    packed = ag_options_pack(spec->options, p, &packed_len);
    copy->options = ag_options_unpack(p, packed, packed_len);
    return copy;
}

void hp_spec_put(ag_frame_t *f, const hp_spec_t *spec)
{
    ag_frame_put_str(f, spec->group);
    ag_frame_put_str(f, spec->app_root);
    ag_frame_put_str(f, spec->kind);
    ag_frame_put_str(f, spec->startup_file);
    ag_frame_put_str(f, spec->base_uri);
    ag_frame_put_u32(f, spec->author);
    ag_frame_put_u32(f, spec->generation);
    ag_frame_put_u32(f, spec->number);
    ag_frame_put_u32(f, spec->errand);
    ag_options_put(f, spec->options);
}

/* A line of the handshake can't hold a newline, and no path that an application needs has one. */
static int printable(const char *s)
{
    return s && !s[strcspn(s, "\r\n")];
}

hp_spec_t *hp_spec_get(ag_frame_reader_t *in)
{
    hp_spec_t *spec = apr_pcalloc(in->p, sizeof *spec);

    spec->group = ag_frame_get_str(in);
    spec->app_root = ag_frame_get_str(in);
    spec->kind = ag_frame_get_str(in);
    spec->startup_file = ag_frame_get_str(in);
    spec->base_uri = ag_frame_get_str(in);
    spec->author = ag_frame_get_u32(in);
    spec->generation = ag_frame_get_u32(in);
    spec->number = ag_frame_get_u32(in);
    spec->errand = ag_frame_get_u32(in);
    spec->options = ag_options_get(in);
    if (!printable(spec->group) || !printable(spec->app_root) || !printable(spec->kind) || !printable(spec->startup_file) ||
        !printable(spec->base_uri) || spec->app_root[0] != '/' || ag_path_climbs(spec->app_root))
        in->bad = 1;
    return spec;
}
