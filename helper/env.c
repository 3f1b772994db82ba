#include "helper/env.h"
#include <apr_strings.h>
#include <ctype.h>
#include <string.h>

/* Names, or beginnings of names where they end in '*'. The first group decides what code runs; the second is ours to say. */
static const char *const kept_back[] = {
    "LD_*", "GCONV_PATH", "LOCPATH", "NLSPATH", "BASH_*", "ENV", "SHELLOPTS", "PS4", "IFS", "CDPATH", "PATH", "PYTHONHOME", "PYTHONPATH",
    "PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONUSERBASE", "PYTHONEXECUTABLE", "PYTHONPLATLIBDIR", "PYTHONPYCACHEPREFIX", "PYTHONBREAKPOINT",
    "PYTHONWARNINGS", "RUBYOPT", "RUBYLIB", "GEM_*", "BUNDLE_*", "NODE_OPTIONS", "NODE_PATH", "PERL5*", "PERLLIB", "JAVA_TOOL_OPTIONS",
    "PHPRC", "PHP_INI_SCAN_DIR", "PHP_FCGI_*", "FPM_SOCKETS", "FCGI_WEB_SERVER_ADDRS",
    "HOME", "USER", "LOGNAME", "SHELL", "PWD", "PYTHONUNBUFFERED"};
/* What only we say. */
static const char *const ours[] = {"IN_PASSENGER", "PASSENGER_*"};

static int listed(const char *const *list, apr_size_t nlist, const char *name, apr_size_t len)
{
    for (apr_size_t i = 0; i < nlist; i++) {
        apr_size_t n = strlen(list[i]);
        if (list[i][n - 1] == '*' ? len >= n - 1 && strncmp(name, list[i], n - 1) == 0 : len == n && strncmp(name, list[i], n) == 0)
            return 1;
    }
    return 0;
}

/* 1 if the bytes are a name that a shell takes. */
static int is_name(const char *name, apr_size_t len)
{
    if (len == 0 || len > 256 || isdigit((unsigned char)name[0]))
        return 0;
    for (apr_size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)name[i]) && name[i] != '_')
            return 0;
    }
    return 1;
}

/* 0 if a variable of this name, set by whoever reaches the core's socket, could make a program of the user's run other code than its own, or
 * is one that the helper sets itself, or is no name at all. */
static int may_come_from_anyone(const char *name, apr_size_t len)
{
    return is_name(name, len) && !listed(kept_back, AG_LEN(kept_back), name, len) && !listed(ours, AG_LEN(ours), name, len);
}

/* -- making one -- */

/* Where in the array a variable of this name stands, or -1. */
static int place_of(const apr_array_header_t *env, const char *name, apr_size_t len)
{
    for (int i = 0; i < env->nelts; i++) {
        const char *pair = APR_ARRAY_IDX(env, i, const char *);
        if (strncmp(pair, name, len) == 0 && pair[len] == '=')
            return i;
    }
    return -1;
}

static void drop(apr_array_header_t *env, const char *name, apr_size_t len)
{
    int i = place_of(env, name, len);

    if (i >= 0)
        APR_ARRAY_IDX(env, i, const char *) = *(const char **)apr_array_pop(env);
}

static void put(apr_array_header_t *env, const char *pair)
{
    drop(env, pair, strcspn(pair, "="));
    APR_ARRAY_PUSH(env, const char *) = pair;
}

static void add(apr_array_header_t *env, const char *name, const char *value)
{
    if (value)
        put(env, apr_pstrcat(env->pool, name, "=", value, NULL));
}

static void tell(hp_env_t *env, const char *name, const char *value)
{
    add(env->all, name, value);
    add(env->told, name, value);
}

static void add_base(hp_env_t *env, const hp_env_source_t *source, apr_pool_t *p)
{
    static const char *const env_names[] = {"RAILS_ENV", "RACK_ENV", "WSGI_ENV", "NODE_ENV", "PASSENGER_APP_ENV"};
    static const char *const base_names[] = {"RAILS_RELATIVE_URL_ROOT", "RACK_BASE_URI", "PASSENGER_BASE_URI"};
    const hp_env_user_t *user = source->user;
    const hp_spec_t *spec = source->spec;

    add(env->all, "PATH", HP_ENV_PATH);
    add(env->all, "LANG", "C.UTF-8");
    add(env->all, "PWD", spec->app_root);
    add(env->all, "HOME", user->home);
    add(env->all, "USER", user->name);
    add(env->all, "LOGNAME", user->name);
    add(env->all, "SHELL", user->shell);
    tell(env, "SERVER_SOFTWARE", "Apache mod_passenger/" AG_VERSION);
    tell(env, "IN_PASSENGER", "1");
    tell(env, "PYTHONUNBUFFERED", "1");
    tell(env, "PASSENGER_GENERATION", apr_psprintf(p, "%lu", (unsigned long)spec->generation));
    for (apr_size_t i = 0; i < AG_LEN(env_names); i++)
        tell(env, env_names[i], spec->options->app_env);
    for (apr_size_t i = 0; i < AG_LEN(base_names) && *spec->base_uri; i++)
        tell(env, base_names[i], spec->base_uri);
}

static int may_pass(const hp_env_source_t *source, const char *pair, apr_size_t len)
{
    if (may_come_from_anyone(pair, len))
        return 1;
    return is_name(pair, len) && !listed(ours, AG_LEN(ours), pair, len) && source->settings &&
           ag_settings_granted(source->settings, "env_var", pair, source->spec->app_root);
}

static void add_configured(hp_env_t *env, const hp_env_source_t *source, apr_pool_t *p)
{
    const apr_array_header_t *pairs = source->spec->options->env_var;

    for (int i = 0; pairs && i < pairs->nelts; i++) {
        const char *pair = APR_ARRAY_IDX(pairs, i, const char *);
        apr_size_t len = strcspn(pair, " ");
        const char *name = apr_pstrmemdup(p, pair, len);
        if (!may_pass(source, pair, len)) {
            APR_ARRAY_PUSH(env->refused, const char *) = name;
        } else if (pair[len]) {
            tell(env, name, pair + len + 1);
        } else {
            drop(env->all, name, len);
            drop(env->told, name, len);
        }
    }
}

/* As its activate script would. */
static void add_interpreter(hp_env_t *env, const hp_env_source_t *source, apr_pool_t *p)
{
    const char *path = APR_ARRAY_IDX(env->all, place_of(env->all, "PATH", 4), const char *) + 5;

    for (int i = 0; source->interpreter && i < source->interpreter->nelts; i++) {
        put(env->all, APR_ARRAY_IDX(source->interpreter, i, const char *));
        put(env->told, APR_ARRAY_IDX(source->interpreter, i, const char *));
    }
    env->bin = source->bin;
    if (source->bin)
        add(env->all, "PATH", apr_pstrcat(p, source->bin, ":", path, NULL));
}

void hp_env_make(hp_env_t *env, const hp_env_source_t *source, apr_pool_t *p)
{
    env->all = apr_array_make(p, 32, sizeof(const char *));
    env->told = apr_array_make(p, 32, sizeof(const char *));
    env->refused = apr_array_make(p, 1, sizeof(const char *));
    add_base(env, source, p);
    for (int i = 0; source->file && i < source->file->nelts; i++) {
        const char *pair = APR_ARRAY_IDX(source->file, i, const char *);
        apr_size_t len = strcspn(pair, "=");
        if (listed(ours, AG_LEN(ours), pair, len)) {
            APR_ARRAY_PUSH(env->refused, const char *) = apr_pstrmemdup(p, pair, len);
        } else {
            put(env->all, pair);
            put(env->told, pair);
        }
    }
    add_configured(env, source, p);
    add_interpreter(env, source, p);
    APR_ARRAY_PUSH(env->all, const char *) = NULL;
    env->all->nelts--;
}

const char *hp_env_through_shell(const hp_env_t *env, const char *const **penv, apr_pool_t *p)
{
    apr_array_header_t *all = apr_array_copy(p, env->all), *program = apr_array_make(p, 64, sizeof(const char *));

    for (int i = 0; i < env->told->nelts; i++) {
        const char *pair = APR_ARRAY_IDX(env->told, i, const char *), *value = strchr(pair, '=') + 1;
        const char *name = apr_pstrmemdup(p, pair, (apr_size_t)(value - pair - 1)), *keep = apr_psprintf(p, "PASSENGER_TOLD_%d", i);
        APR_ARRAY_PUSH(all, const char *) = apr_pstrcat(p, keep, "=", value, NULL);
        /* A shell may have made it read-only. */
        APR_ARRAY_PUSH(program, const char *) =
            apr_pstrcat(p, "{ export ", name, "=\"$", keep, "\"; } 2>/dev/null; unset ", keep, "; ", NULL);
    }
    if (env->bin) {
        APR_ARRAY_PUSH(all, const char *) = apr_pstrcat(p, "PASSENGER_BIN=", env->bin, NULL);
        APR_ARRAY_PUSH(program, const char *) = "PATH=\"$PASSENGER_BIN:$PATH\"; unset PASSENGER_BIN; ";
    }
    APR_ARRAY_PUSH(all, const char *) = NULL;
    APR_ARRAY_PUSH(program, const char *) = "exec \"$@\"";
    *penv = (const char *const *)all->elts;
    return apr_array_pstrcat(p, program, 0);
}

/* -- a file -- */

/* The value that begins at `at` and ends with its line; NULL if quotes are wrong. */
static const char *unquote(const char *at, apr_size_t len, apr_pool_t *p)
{
    char quote = *at, *out, *end;
    apr_size_t i;

    if (len == 0 || (quote != '"' && quote != '\''))
        return apr_pstrmemdup(p, at, len);
    end = out = apr_palloc(p, len);
    for (i = 1; i < len && at[i] != quote; i++) {
        if (quote == '"' && at[i] == '\\' && i + 1 < len && strchr("n\"\\$`", at[i + 1]))
            *end++ = at[++i] == 'n' ? '\n' : at[i];
        else
            *end++ = at[i];
    }
    *end = '\0';
    if (i == len)
        return NULL;
    i += 1 + strspn(at + i + 1, " \t");
    return i >= len || at[i] == '#' ? out : NULL;
}

/* One line, `len` bytes without its end: 0 if it is no variable. */
static int parse_line(apr_array_header_t *pairs, const char *line, apr_size_t len)
{
    const char *value, *text;
    apr_size_t name;

    for (; len > 0 && isspace((unsigned char)line[len - 1]); len--)
        continue;
    for (; len > 0 && isspace((unsigned char)*line); len--)
        line++;
    if (len == 0 || *line == '#')
        return 1;
    if (len > 7 && strncmp(line, "export ", 7) == 0) {
        name = 7 + strspn(line + 7, " \t");
        line += name;
        len -= name;
    }
    name = strcspn(line, "=");
    if (name >= len || !is_name(line, name))
        return 0;
    value = line + name + 1;
    text = unquote(value, (apr_size_t)(line + len - value), pairs->pool);
    if (!text)
        return 0;
    put(pairs, apr_pstrcat(pairs->pool, apr_pstrmemdup(pairs->pool, line, name), "=", text, NULL));
    return 1;
}

apr_array_header_t *hp_env_parse(const char *text, const char **pproblem, apr_pool_t *p)
{
    apr_array_header_t *pairs = apr_array_make(p, 16, sizeof(const char *));

    for (int n = 1; *text; n++) {
        apr_size_t len = strcspn(text, "\n");
        if (!parse_line(pairs, text, len)) {
            *pproblem = apr_psprintf(p, "line %d is not of the form NAME=value", n);
            return NULL;
        }
        text += len + (text[len] == '\n');
    }
    return pairs;
}
