#include "helper/env.h"
#include <apr_strings.h>
#include <ctype.h>
#include <string.h>

/* Names, or beginnings of names where they end in '*'. The first group decides what code runs; the second is ours to say. */
static const char *const kept_back[] = {
    "LD_*", "GCONV_PATH", "LOCPATH", "NLSPATH", "BASH_*", "ENV", "SHELLOPTS", "PS4", "IFS", "CDPATH", "PATH", "PYTHONHOME", "PYTHONPATH",
    "PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONUSERBASE", "PYTHONEXECUTABLE", "PYTHONPLATLIBDIR", "PYTHONPYCACHEPREFIX", "PYTHONBREAKPOINT",
    "PYTHONWARNINGS", "RUBYOPT", "RUBYLIB", "GEM_*", "BUNDLE_*", "NODE_OPTIONS", "NODE_PATH", "PERL5*", "PERLLIB", "JAVA_TOOL_OPTIONS",
    "HOME", "USER", "LOGNAME", "SHELL", "PWD", "IN_PASSENGER", "PASSENGER_*", "PYTHONUNBUFFERED"};

int hp_env_may_pass(const char *name, apr_size_t len)
{
    if (len == 0 || len > 256 || isdigit((unsigned char)name[0]))
        return 0;
    for (apr_size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)name[i]) && name[i] != '_')
            return 0;
    }
    for (apr_size_t i = 0; i < AG_LEN(kept_back); i++) {
        apr_size_t n = strlen(kept_back[i]);
        if (kept_back[i][n - 1] == '*' ? len >= n - 1 && strncmp(name, kept_back[i], n - 1) == 0
                                       : len == n && strncmp(name, kept_back[i], n) == 0)
            return 0;
    }
    return 1;
}

static void add(apr_array_header_t *env, const char *name, const char *value)
{
    if (value)
        APR_ARRAY_PUSH(env, const char *) = apr_pstrcat(env->pool, name, "=", value, NULL);
}

const char *const *hp_env_make(const hp_spec_t *spec, const ag_options_t *options, const hp_env_user_t *user, apr_array_header_t **prefused,
                               apr_pool_t *p)
{
    static const char *const env_names[] = {"RAILS_ENV", "RACK_ENV", "WSGI_ENV", "NODE_ENV", "PASSENGER_APP_ENV"};
    static const char *const base_names[] = {"RAILS_RELATIVE_URL_ROOT", "RACK_BASE_URI", "PASSENGER_BASE_URI"};
    apr_array_header_t *env = apr_array_make(p, 32, sizeof(const char *));

    *prefused = apr_array_make(p, 1, sizeof(const char *));
    add(env, "PATH", HP_ENV_PATH);
    add(env, "LANG", "C.UTF-8");
    add(env, "PWD", spec->app_root);
    add(env, "HOME", user->home);
    add(env, "USER", user->name);
    add(env, "LOGNAME", user->name);
    add(env, "SHELL", user->shell);
    add(env, "SERVER_SOFTWARE", "Apache mod_passenger/" AG_VERSION);
    add(env, "IN_PASSENGER", "1");
    add(env, "PYTHONUNBUFFERED", "1");
    add(env, "PASSENGER_GENERATION", apr_psprintf(p, "%lu", (unsigned long)spec->generation));
    for (apr_size_t i = 0; i < AG_LEN(env_names); i++)
        add(env, env_names[i], options->app_env);
    for (apr_size_t i = 0; i < AG_LEN(base_names) && *spec->base_uri; i++)
        add(env, base_names[i], spec->base_uri);
    for (int i = 0; i < spec->env->nelts; i++) {
        const char *pair = APR_ARRAY_IDX(spec->env, i, const char *);
        apr_size_t len = strcspn(pair, "=");
        if (pair[len] && hp_env_may_pass(pair, len))
            APR_ARRAY_PUSH(env, const char *) = pair;
        else
            APR_ARRAY_PUSH(*prefused, const char *) = apr_pstrmemdup(p, pair, len);
    }
    APR_ARRAY_PUSH(env, const char *) = NULL;
    return (const char *const *)env->elts;
}

const char *const *hp_env_with(const char *const *env, const apr_array_header_t *more, apr_pool_t *p)
{
    apr_array_header_t *all = apr_array_make(p, 32, sizeof(const char *));

    for (; *env; env++) {
        int replaced = 0;
        for (int i = 0; i < more->nelts; i++) {
            const char *pair = APR_ARRAY_IDX(more, i, const char *);
            replaced |= strncmp(*env, pair, strcspn(pair, "=") + 1) == 0;
        }
        if (!replaced)
            APR_ARRAY_PUSH(all, const char *) = *env;
    }
    apr_array_cat(all, more);
    APR_ARRAY_PUSH(all, const char *) = NULL;
    return (const char *const *)all->elts;
}
