#include "mod_passenger/conf.h"
#include "apr-glue/build.h"
#include "apr-glue/link.h"
#include "apr-glue/log.h"
#include "mod_passenger/htaccess.h"
#include "mod_passenger/manifest.h"
#include "mod_passenger/once.h"
#include <ap_mpm.h>
#include <apr_base64.h>
#include <apr_general.h>
#include <apr_siphash.h>
#include <apr_strings.h>
#include <apr_user.h>
#include <http_core.h>
#include <http_main.h>
#include <unixd.h>
#include <unistd.h>

#ifndef MP_HELPER_PATH
#define MP_HELPER_PATH "/usr/lib/mod_passenger/passenger-helper"
#endif

/* The number changes with kept_t, because a new module may find what an old one kept. */
#define KEPT    "mod_passenger.conf/2"
#define READING "mod_passenger.reading"

/* Outlives reloads: digests must not change with them. */
typedef struct {
    unsigned char key[16];
} kept_t;

/* One reading of the configuration; lives in pconf. */
typedef struct {
    ag_options_global_t *global;
    ag_options_t *defaults;
    char used[AG_OPTIONS_ROWS]; /* not 0: root's configuration uses the directive */
    apr_array_header_t *lines;  /* to be logged when the log is open */
    mp_manifest_t *manifest;
    apr_status_t (*getstr)(void *, apr_size_t, void *); /* of files that httpd opens */
} reading_t;

/* Objects that know of an .htaccess file live in a request's pool and are that request's own: they may change while it lasts. */
typedef struct {
    apr_pool_t *p;
    ag_options_t *options;
    const char *digest, *base64;   /* made at start for a server's defaults, else NULL */
    mp_htaccess_t *file;           /* the .htaccess file that all of it comes from */
    apr_array_header_t *layers;    /* of mp_htaccess_layer_t: a merge in which such a file takes part; then `options` is not made until needed */
    mp_htaccess_result_t *result;  /* of that */
} dir_t;

/* No statics: those would be lost with the module's code at every reload. Both lookups are in tables that never change after
 * start. */
static kept_t *kept(void)
{
    return ap_retained_data_get(KEPT);
}

static reading_t *reading(void)
{
    void *data = NULL;

    apr_pool_userdata_get(&data, READING, ap_server_conf->process->pconf);
    return data;
}

void *mp_conf_create_dir(apr_pool_t *p, char *dir)
{
    dir_t *conf = apr_pcalloc(p, sizeof *conf);

    (void)dir;
    conf->p = p;
    conf->options = ag_options_create(p);
    return conf;
}

static void add_layers(apr_array_header_t *layers, const dir_t *conf)
{
    if (conf->layers) {
        apr_array_cat(layers, conf->layers);
    } else if (conf->options->set) {
        mp_htaccess_layer_t *layer = apr_array_push(layers);
        layer->options = conf->options;
        layer->file = conf->file;
    }
}

/* Where .htaccess files take part nothing is decided yet: httpd does not merge from left to right, and what the administrator allows may come
 * from anywhere. */
void *mp_conf_merge_dir(apr_pool_t *p, void *base_, void *add_)
{
    dir_t *base = base_, *add = add_, *conf;

    if (!add->layers && add->options->set == 0)
        return base;
    conf = apr_pcalloc(p, sizeof *conf);
    conf->p = p;
    if (base->file || add->file || base->layers || add->layers) {
        conf->layers = apr_array_make(p, 4, sizeof(mp_htaccess_layer_t));
        add_layers(conf->layers, base);
        add_layers(conf->layers, add);
    } else {
        conf->options = ag_options_merge(p, base->options, add->options);
    }
    return conf;
}

static int in_htaccess(cmd_parms *cmd)
{
    return ap_check_cmd_context(cmd, NOT_IN_HTACCESS) != NULL;
}

static const char *place(cmd_parms *cmd)
{
    return apr_psprintf(cmd->temp_pool, "%s:%d", cmd->directive->filename, cmd->directive->line_num);
}

/* Says something about a directive. What is read in the foreground goes to the terminal; later readings wait for the log to be
 * open. */
static void tell(cmd_parms *cmd, const char *line)
{
    if (in_htaccess(cmd))
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, cmd->server, "%s", line);
    else if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG)
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, ap_server_conf, "%s", line);
    else
        APR_ARRAY_PUSH(reading()->lines, const char *) = apr_pstrdup(cmd->pool, line);
}

/* The server's configuration uses a directive. */
static void note(cmd_parms *cmd, const ag_options_row_t *row, const char *value)
{
    reading()->used[row->meant] = 1;
    mp_manifest_note(reading()->manifest, cmd, row->directive, value);
}

static void tell_ignored(cmd_parms *cmd, const char *why)
{
    if (mp_once(place(cmd)))
        tell(cmd, apr_psprintf(cmd->temp_pool, "PSG0501: %s at %s %s and is ignored in .htaccess", cmd->cmd->name, place(cmd), why));
}

static const char *set_global(cmd_parms *cmd, const ag_options_row_t *row, const char *value)
{
    const char *problem;

    if (in_htaccess(cmd)) {
        tell_ignored(cmd, "is for the whole server");
        return NULL;
    }
    problem = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT);
    if (problem)
        return problem;
    if (!(row->flags & AG_OPTIONS_VHOST) && ap_check_cmd_context(cmd, NOT_IN_VIRTUALHOST))
        tell(cmd,
             apr_psprintf(cmd->temp_pool, "PSG0502: %s at %s is for the whole server, also in a virtual host; the last one wins",
                          cmd->cmd->name, place(cmd)));
    note(cmd, row, value);
    return ag_options_set(cmd->pool, reading()->global, row, value);
}

/* Notes where in an .htaccess file an option stands, and whose file that is. */
static const char *note_file(cmd_parms *cmd, dir_t *conf, const ag_options_row_t *row)
{
    if (!conf->file)
        conf->file = mp_htaccess_open(cmd, reading()->getstr);
    if (!conf->file)
        return apr_psprintf(cmd->pool, "the owner of %s can't be found out", cmd->directive->filename);
    conf->file->lines[row->id] = (unsigned)cmd->directive->line_num;
    return NULL;
}

static int forbidden_places(ag_options_scope_t scope)
{
    return scope == AG_OPTIONS_SCOPE_APP || scope == AG_OPTIONS_SCOPE_ADMIN ? NOT_IN_FILES : 0;
}

static const char *set_value(cmd_parms *cmd, void *conf_, const char *value)
{
    const ag_options_row_t *named = cmd->info, *row = &ag_options_rows[named->meant];
    dir_t *conf = conf_;
    const char *problem;

    if (row->kind == AG_OPTIONS_KIND_GLOBAL)
        return set_global(cmd, row, value);
    if (row->scope == AG_OPTIONS_SCOPE_ADMIN && in_htaccess(cmd)) {
        tell_ignored(cmd, "is for administrators");
        return NULL;
    }
    problem = ap_check_cmd_context(cmd, (unsigned)forbidden_places(row->scope));
    if (!problem && in_htaccess(cmd))
        problem = note_file(cmd, conf, row);
    else
        note(cmd, row, value);
    return problem ? problem : ag_options_set(cmd->pool, conf->options, row, value);
}

/* Parameters of Phusion Passenger's agent are called like our directives' fields, with "default_" in front where applications may differ, and
 * take JSON's words for flags. */
static const ag_options_row_t *row_of_parameter(const char *name)
{
    const char *field = strncmp(name, "default_", 8) == 0 ? name + 8 : name;
    int i;

    if (strcmp(field, "environment") == 0)
        field = "app_env";
    for (i = 0; i < AG_OPTIONS_ROWS; i++) {
        const ag_options_row_t *row = &ag_options_rows[i];
        if (row->kind == AG_OPTIONS_KIND_GLOBAL && strcmp(row->field, name) == 0 && row->type != AG_OPTIONS_TYPE_KEYVAL)
            return row;
        if (row->kind == AG_OPTIONS_KIND_OPTION && strcmp(row->field, field) == 0 && row->type != AG_OPTIONS_TYPE_KEYVAL)
            return row;
    }
    return NULL;
}

static const char *set_parameter(cmd_parms *cmd, void *conf, const char *name, const char *value)
{
    const ag_options_row_t *row = row_of_parameter(name);
    cmd_parms as_directive = *cmd;

    if (!row) {
        tell(cmd, apr_psprintf(cmd->temp_pool, "PSG1703: PassengerCtl %s at %s is ignored: nothing here has a parameter of that name", name,
                               place(cmd)));
        return NULL;
    }
    if (row->type == AG_OPTIONS_TYPE_FLAG)
        value = strcmp(value, "true") == 0 ? "On" : strcmp(value, "false") == 0 ? "Off" : value;
    as_directive.info = (void *)(apr_uintptr_t)row;
    return set_value(&as_directive, conf, value);
}

static const char *set_pair(cmd_parms *cmd, void *conf, const char *name, const char *value)
{
    const ag_options_row_t *row = cmd->info;

    if (row->meant == AG_OPTIONS_ROW_PassengerCtl && !in_htaccess(cmd))
        return set_parameter(cmd, conf, name, value);
    return set_value(cmd, conf, apr_pstrcat(cmd->pool, name, " ", value, NULL));
}

/* mod_env's directives reach us too: httpd hands a directive to every module that knows it. What they say of a part of the files, or what
 * no environment can hold, is for requests alone. */
static void note_env(cmd_parms *cmd, void *conf_, const char *pair)
{
    const ag_options_row_t *row = &ag_options_rows[AG_OPTIONS_ROW_PassengerEnvVar];
    dir_t *conf = conf_;

    if (!ap_check_cmd_context(cmd, NOT_IN_FILES))
        (void)ag_options_set(cmd->pool, conf->options, row, pair);
}

static const char *set_env(cmd_parms *cmd, void *conf, const char *name, const char *value)
{
    note_env(cmd, conf, apr_pstrcat(cmd->pool, name, " ", value ? value : "", NULL));
    return NULL;
}

static const char *pass_env(cmd_parms *cmd, void *conf, const char *name)
{
    const char *value = getenv(name);

    return value ? set_env(cmd, conf, name, value) : NULL;
}

static const char *unset_env(cmd_parms *cmd, void *conf, const char *name)
{
    note_env(cmd, conf, name);
    return NULL;
}

static const char *ignore(cmd_parms *cmd, void *conf, const char *arguments)
{
    const ag_options_row_t *row = cmd->info;

    (void)conf;
    (void)arguments;
    if (!(row->flags & AG_OPTIONS_WARN))
        return NULL;
    if (in_htaccess(cmd)) {
        if (!mp_once(place(cmd)))
            return NULL;
    } else {
        if (reading()->used[row->meant])
            return NULL;
        reading()->used[row->meant] = 1;
    }
    tell(cmd, apr_psprintf(cmd->temp_pool, "PSG0503: %s at %s is ignored: %s", row->directive, place(cmd), row->doc));
    return NULL;
}

/* What httpd must let through. Names for the whole server are let through everywhere, to be answered by set_global instead of
 * by an error page for everything below an .htaccess file. */
#define WHERE_GLOBAL           (RSRC_CONF | OR_ALL)
#define WHERE_APP              (RSRC_CONF | ACCESS_CONF | OR_ALL)
#define WHERE_LOCATION         (RSRC_CONF | ACCESS_CONF | OR_ALL)
#define WHERE_LOCATION_OPTIONS (RSRC_CONF | ACCESS_CONF | OR_OPTIONS)
#define WHERE_ADMIN            (RSRC_CONF | ACCESS_CONF | OR_ALL)
#define ONE_VALUE(name, scope, doc)                                                                                              \
    AP_INIT_TAKE1(#name, set_value, (void *)&ag_options_rows[AG_OPTIONS_ROW_##name], WHERE_##scope, doc),
#define TAKE_FLAG   ONE_VALUE
#define TAKE_INT    ONE_VALUE
#define TAKE_STRING ONE_VALUE
#define TAKE_SET(name, scope, doc)                                                                                               \
    AP_INIT_ITERATE(#name, set_value, (void *)&ag_options_rows[AG_OPTIONS_ROW_##name], WHERE_##scope, doc),
#define TAKE_KEYVAL(name, scope, doc)                                                                                            \
    AP_INIT_TAKE2(#name, set_pair, (void *)&ag_options_rows[AG_OPTIONS_ROW_##name], WHERE_##scope, doc),

const command_rec mp_conf_commands[] = {
#define GLOBAL(directive, field, type, def, bounds, flags, doc)        TAKE_##type(directive, GLOBAL, doc)
#define OPTION(directive, field, type, scope, def, bounds, flags, doc) TAKE_##type(directive, scope, doc)
#define ALIAS(directive, scope, meant)                                 ONE_VALUE(directive, scope, "another name of " #meant)
#define IGNORED(directive, scope, flags, doc)                                                                                    \
    AP_INIT_RAW_ARGS(#directive, ignore, (void *)&ag_options_rows[AG_OPTIONS_ROW_##directive], WHERE_##scope, doc),
#include "apr-glue/options.def"
    AP_INIT_TAKE12("SetEnv", set_env, NULL, OR_FILEINFO, "an environment variable: name and value"),
    AP_INIT_ITERATE("PassEnv", pass_env, NULL, OR_FILEINFO, "environment variables of Apache's own that are passed on"),
    AP_INIT_ITERATE("UnsetEnv", unset_env, NULL, OR_FILEINFO, "environment variables that are not passed on"),
    {.name = NULL}};

const ag_options_t *mp_conf_section(const ap_conf_vector_t *section)
{
    const dir_t *conf = ap_get_module_config(section, &passenger_module);

    return conf && conf->options && conf->options->set ? conf->options : NULL;
}

/* What counts of a merge with .htaccess files. */
static const mp_htaccess_result_t *result_of(dir_t *conf, const request_rec *r)
{
    if (!conf->result) {
        conf->result = apr_palloc(conf->p, sizeof *conf->result);
        mp_htaccess_resolve(conf->result, conf->layers, r, conf->p);
    }
    return conf->result;
}

const ag_options_t *mp_conf_options(const request_rec *r)
{
    dir_t *conf = ap_get_module_config(r->per_dir_config, &passenger_module);

    if (!conf)
        return reading()->defaults;
    return conf->layers ? result_of(conf, r)->options : conf->options;
}

int mp_conf_author(request_rec *r, uint32_t *pauthor)
{
    dir_t *conf = ap_get_module_config(r->per_dir_config, &passenger_module);
    const mp_htaccess_result_t *result = conf && conf->layers ? result_of(conf, r) : NULL;

    *pauthor = result ? result->author : AG_LINK_NO_AUTHOR;
    if (!result || !result->other)
        return OK;
    MP_RLOG(APLOG_ERR, 0, r, "PSG1702", "%s and %s, which belong to different users, both decide about the application here; "
            "take the directives out of one of them",
            result->file, result->other);
    return HTTP_FORBIDDEN;
}

static const char *digest_of(apr_pool_t *p, const ag_options_t *o)
{
    return apr_psprintf(p, "%016" APR_UINT64_T_HEX_FMT, ag_options_digest(o, kept()->key, p));
}

static const char *base64_of(apr_pool_t *p, const ag_options_t *o)
{
    apr_size_t len;
    const char *data = ag_options_pack(o, p, &len);
    char *text = apr_palloc(p, (apr_size_t)apr_base64_encode_len((int)len));

    apr_base64_encode_binary(text, (const unsigned char *)data, (int)len);
    return text;
}

/* 1 if both hold the same pairs in the same order. */
static int same_pairs(const apr_array_header_t *a, const apr_array_header_t *b)
{
    int i;

    if (a == b)
        return 1;
    if (!a || !b || a->nelts != b->nelts)
        return 0;
    for (i = 0; i < a->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(a, i, const char *), APR_ARRAY_IDX(b, i, const char *)) != 0)
            return 0;
    }
    return 1;
}

void mp_conf_wire(mp_conf_wire_t *wire, const request_rec *r, apr_array_header_t *env)
{
    const dir_t *conf = ap_get_module_config(r->per_dir_config, &passenger_module);
    const ag_options_t *o = mp_conf_options(r);

    if (same_pairs(o->env_var, env)) {
        *wire = (mp_conf_wire_t){o, conf ? conf->digest : NULL, conf ? conf->base64 : NULL};
    } else {
        *wire = (mp_conf_wire_t){.options = ag_options_with_env(r->pool, o, env)};
    }
    if (!wire->digest)
        wire->digest = digest_of(r->pool, wire->options);
}

const char *mp_conf_wire_packed(mp_conf_wire_t *wire, apr_pool_t *p)
{
    if (!wire->base64)
        wire->base64 = base64_of(p, wire->options);
    return wire->base64;
}

const ag_options_global_t *mp_conf_global(void)
{
    return reading()->global;
}

const char *mp_conf_helper_path(void)
{
    return reading()->global->helper ? reading()->global->helper : MP_HELPER_PATH;
}

static const char *temporary_dir(apr_pool_t *p)
{
    const char *dir = getenv("TMPDIR");

    return dir && *dir ? apr_pstrdup(p, dir) : "/tmp";
}

ag_settings_t *mp_conf_settings(apr_pool_t *p, server_rec *s)
{
    static const ag_log_level_t levels[] = {AG_LOG_CRIT, AG_LOG_ERROR, AG_LOG_WARN,  AG_LOG_NOTICE,
                                            AG_LOG_INFO, AG_LOG_DEBUG, AG_LOG_TRACE, AG_LOG_TRACE};
    const ag_options_global_t *g = reading()->global;
    ag_settings_t *settings = apr_pcalloc(p, sizeof *settings);
    int root = geteuid() == 0;

    (void)s;
    settings->build_id = ag_build_id();
    settings->registry_dir = g->instance_registry_dir;
    if (!settings->registry_dir)
        settings->registry_dir = root ? "/run/mod_passenger" : ap_runtime_dir_relative(p, "passenger");
    settings->data_dir = g->data_buffer_dir ? g->data_buffer_dir : temporary_dir(p);
    settings->web_user = root ? ap_unixd_config.user_name : NULL;
    settings->web_uid = root ? (uint32_t)ap_unixd_config.user_id : (uint32_t)geteuid();
    settings->server_software = ap_get_server_description();
    settings->user_switching = root && g->user_switching;
    settings->default_user = g->default_user;
    settings->default_group = g->default_group;
    settings->default_ruby = g->default_ruby;
    settings->log_level = levels[g->log_level];
    settings->max_pool_size = (uint32_t)g->max_pool_size;
    settings->max_instances_per_app = (uint32_t)g->max_instances_per_app;
    settings->pool_idle_time = (uint32_t)g->pool_idle_time;
    settings->stat_throttle_rate = (uint32_t)g->stat_throttle_rate;
    settings->response_watermark = (uint32_t)g->response_buffer_high_watermark;
    settings->socket_backlog = (uint32_t)g->socket_backlog;
    settings->show_version = g->show_version_in_header;
    settings->core_files = (uint32_t)g->core_file_descriptor_ulimit;
    settings->analytics_collection_rate = (uint32_t)g->analytics_collection_rate;
    settings->disable_log_prefix = g->disable_log_prefix;
    if (strcmp(g->log_format, "json") == 0)
        settings->log_json = AG_SETTINGS_JSON_APPS | (g->log_file ? AG_SETTINGS_JSON_SERVER : 0);
    settings->grants = apr_array_make(p, 0, sizeof(ag_settings_grant_t));
    settings->pre_start = g->pre_start;
    return settings;
}

/* httpd's own reader of configuration files. What has it, has an apr_file_t for it. */
static apr_status_t (*reader_of_files(apr_pool_t *ptemp))(void *, apr_size_t, void *)
{
    apr_status_t (*getstr)(void *, apr_size_t, void *) = NULL;
    ap_configfile_t *f;

    if (ap_pcfg_openfile(&f, ptemp, "/dev/null") == APR_SUCCESS) {
        getstr = f->getstr;
        ap_cfg_closefile(f);
    }
    return getstr;
}

static int pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    reading_t *begun;

    (void)plog;
    if (mp_once_init(pconf) != APR_SUCCESS)
        return HTTP_INTERNAL_SERVER_ERROR;
    if (!kept()) {
        kept_t *fresh = ap_retained_data_create(KEPT, sizeof *fresh);
        if (apr_generate_random_bytes(fresh->key, sizeof fresh->key) != APR_SUCCESS)
            return HTTP_INTERNAL_SERVER_ERROR;
    }
    begun = apr_pcalloc(pconf, sizeof *begun);
    begun->global = ag_options_create_global(pconf);
    begun->defaults = ag_options_create(pconf);
    begun->lines = apr_array_make(pconf, 0, sizeof(const char *));
    begun->manifest = mp_manifest_create(pconf);
    begun->getstr = reader_of_files(ptemp);
    apr_pool_userdata_setn(begun, READING, NULL, pconf);
    return OK;
}

/* A configuration test runs this too, so it must not do more than look. */
static int check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    const ag_options_global_t *g = reading()->global;
    apr_uid_t uid;
    apr_gid_t gid;

    (void)pconf;
    (void)plog;
    if (geteuid() != 0)
        return OK;
    if (apr_uid_get(&uid, &gid, g->default_user, ptemp) != APR_SUCCESS) {
        MP_LOG(APLOG_CRIT, 0, s, "PSG0504", "PassengerDefaultUser: there is no user \"%s\"", g->default_user);
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    if (g->default_group && apr_gid_get(&gid, g->default_group, ptemp) != APR_SUCCESS) {
        MP_LOG(APLOG_CRIT, 0, s, "PSG0505", "PassengerDefaultGroup: there is no group \"%s\"", g->default_group);
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    return OK;
}

static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    const apr_array_header_t *lines = reading()->lines;
    server_rec *each;
    int i;

    (void)plog;
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG)
        return OK;
    for (i = 0; i < lines->nelts; i++)
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s, "%s", APR_ARRAY_IDX(lines, i, const char *));
    ap_add_version_component(pconf, "mod_passenger/" AG_VERSION);
    if (mp_conf_global()->dump_config_manifest)
        mp_manifest_write(reading()->manifest, mp_conf_global()->dump_config_manifest, s, ptemp);
    for (each = s; each; each = each->next) {
        dir_t *conf = ap_get_module_config(each->lookup_defaults, &passenger_module);
        if (conf && !conf->digest) {
            conf->digest = digest_of(pconf, conf->options);
            conf->base64 = base64_of(pconf, conf->options);
        }
    }
    return OK;
}

void mp_conf_register_hooks(apr_pool_t *p)
{
    (void)p;
    ap_hook_pre_config(pre_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_check_config(check_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(post_config, NULL, NULL, APR_HOOK_MIDDLE);
}
