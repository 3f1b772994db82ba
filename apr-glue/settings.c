#include "apr-glue/settings.h"
#include "apr-glue/path.h"
#include <apr_strings.h>
#include <string.h>

/* The fields in the order in which they travel: one list, read by put and by get. */
#define SETTINGS(STR, U32)                                                                                                                 \
    STR(build_id) U32(config_generation) STR(registry_dir) STR(instance_dir) STR(data_dir) STR(web_user) U32(web_uid)                      \
    U32(user_switching) STR(server_software) STR(default_user) STR(default_group) STR(default_ruby) U32(log_level)                         \
    U32(max_pool_size) U32(max_instances_per_app) U32(pool_idle_time) U32(stat_throttle_rate) U32(response_watermark) U32(socket_backlog)  \
    U32(show_version) U32(disable_log_prefix) U32(log_facility) U32(log_json) U32(core_files) U32(analytics_collection_rate)

void ag_settings_put(ag_frame_t *f, const ag_settings_t *s)
{
#define PUT_STR(field) ag_frame_put_str(f, s->field);
#define PUT_U32(field) ag_frame_put_u32(f, (uint32_t)s->field);
    SETTINGS(PUT_STR, PUT_U32)
    ag_frame_put_u32(f, s->grants ? (uint32_t)s->grants->nelts : 0);
    for (int i = 0; s->grants && i < s->grants->nelts; i++) {
        const ag_settings_grant_t *grant = &APR_ARRAY_IDX(s->grants, i, ag_settings_grant_t);
        ag_frame_put_str(f, grant->option);
        ag_frame_put_str(f, grant->value);
        ag_frame_put_str(f, grant->root);
    }
    ag_frame_put_u32(f, s->pre_start ? (uint32_t)s->pre_start->nelts : 0);
    for (int i = 0; s->pre_start && i < s->pre_start->nelts; i++)
        ag_frame_put_str(f, APR_ARRAY_IDX(s->pre_start, i, const char *));
}

static apr_array_header_t *get_strings(ag_frame_reader_t *in)
{
    apr_array_header_t *strings = apr_array_make(in->p, 2, sizeof(const char *));
    uint32_t n = ag_frame_get_u32(in);

    while (!in->bad && n-- > 0) {
        const char *string = ag_frame_get_str(in);
        if (string)
            APR_ARRAY_PUSH(strings, const char *) = string;
        else
            in->bad = 1;
    }
    return strings;
}

ag_settings_t *ag_settings_get(ag_frame_reader_t *in)
{
    ag_settings_t *s = apr_pcalloc(in->p, sizeof *s);
    uint32_t grants;

#define GET_STR(field) s->field = ag_frame_get_str(in);
#define GET_U32(field) s->field = ag_frame_get_u32(in);
    SETTINGS(GET_STR, GET_U32)
    grants = ag_frame_get_u32(in);
    s->grants = apr_array_make(in->p, 4, sizeof(ag_settings_grant_t));
    while (!in->bad && grants-- > 0) {
        ag_settings_grant_t *grant = apr_array_push(s->grants);
        grant->option = ag_frame_get_str(in);
        grant->value = ag_frame_get_str(in);
        grant->root = ag_frame_get_str(in);
        if (!grant->option || !grant->value || !grant->root)
            in->bad = 1;
    }
    s->pre_start = get_strings(in);
    if (!s->build_id || !s->registry_dir || !s->data_dir || !s->default_user)
        in->bad = 1;
    return s;
}

int ag_settings_below(const char *path, const char *root)
{
    apr_size_t len = strlen(root);

    while (len > 0 && root[len - 1] == '/')
        len--;
    if (ag_path_climbs(path))
        return 0;
    return strncmp(path, root, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

int ag_settings_granted(const ag_settings_t *s, const char *option, const char *value, const char *app_root)
{
    for (int i = 0; i < s->grants->nelts; i++) {
        const ag_settings_grant_t *grant = &APR_ARRAY_IDX(s->grants, i, ag_settings_grant_t);
        if (strcmp(grant->option, option) == 0 && strcmp(grant->value, value) == 0 && ag_settings_below(app_root, grant->root))
            return 1;
    }
    return 0;
}

int ag_settings_most(const ag_settings_t *s, const char *option, const char *app_root, int endless, int most)
{
    apr_size_t nearest = 0;

    for (int i = 0; s->grants && i < s->grants->nelts; i++) {
        const ag_settings_grant_t *grant = &APR_ARRAY_IDX(s->grants, i, ag_settings_grant_t);
        apr_size_t near = strlen(grant->root);
        int value;
        if (strcmp(grant->option, option) != 0 || near < nearest || !ag_settings_below(app_root, grant->root))
            continue;
        value = (int)apr_atoi64(grant->value);
        if (near > nearest || (endless && value == 0) || (value > most && !(endless && most == 0)))
            most = value;
        nearest = near;
    }
    return most;
}

int ag_settings_granted_here(const ag_settings_t *s, const char *option, const char *value, const char *app_root)
{
    for (int i = 0; i < s->grants->nelts; i++) {
        const ag_settings_grant_t *grant = &APR_ARRAY_IDX(s->grants, i, ag_settings_grant_t);
        if (strcmp(grant->option, option) == 0 && strcmp(grant->value, value) == 0 && ag_settings_below(app_root, grant->root) &&
            ag_settings_below(grant->root, app_root))
            return 1;
    }
    return 0;
}
