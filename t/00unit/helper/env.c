#include "helper/env.c"
#include "t/lib/tap.h"
#include <apr_general.h>

static const char *value_of(const char *const *env, const char *name)
{
    for (; *env; env++) {
        if (strncmp(*env, name, strlen(name)) == 0 && (*env)[strlen(name)] == '=')
            return *env + strlen(name) + 1;
    }
    return NULL;
}

static void names(void)
{
    static const char *const refused[] = {
        "", "1A", "A B", "A-B", "A%", "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_", "PATH", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "RUBYOPT",
        "RUBYLIB",
        "NODE_OPTIONS", "NODE_PATH", "PERL5LIB", "BASH_ENV", "ENV", "IFS", "HOME", "USER", "SHELL", "PASSENGER_X", "GEM_HOME", "PWD",
    };
    static const char *const passed[] = {"A", "_", "DATABASE_URL", "SECRET_KEY", "LDAP", "PATHS", "A1", "http_proxy", "HOMEPAGE"};

    for (apr_size_t i = 0; i < AG_LEN(refused); i++)
        is_int(hp_env_may_pass(refused[i], strlen(refused[i])), 0, "\"%s\" is kept back", refused[i]);
    for (apr_size_t i = 0; i < AG_LEN(passed); i++)
        is_int(hp_env_may_pass(passed[i], strlen(passed[i])), 1, "%s may pass", passed[i]);
}

static void made(apr_pool_t *p)
{
    hp_spec_t spec = {.app_root = "/srv/shop", .base_uri = "", .generation = 7};
    hp_env_user_t user = {"eve", "/home/eve", NULL};
    ag_options_t *options = ag_options_create(p);
    apr_array_header_t *kept;
    const char *const *env;

    spec.env = apr_array_make(p, 4, sizeof(const char *));
    APR_ARRAY_PUSH(spec.env, const char *) = "MINE=a=b";
    APR_ARRAY_PUSH(spec.env, const char *) = "LD_PRELOAD=/evil.so";
    APR_ARRAY_PUSH(spec.env, const char *) = "NOVALUE";
    env = hp_env_make(&spec, options, &user, &kept, p);
    is_str(value_of(env, "MINE"), "a=b", "the administrator's variable");
    is_str(value_of(env, "LD_PRELOAD"), NULL, "... unless it is dangerous");
    is_int(kept->nelts, 2, "... which is told");
    is_str(value_of(env, "HOME"), "/home/eve", "the user's home");
    is_str(value_of(env, "SHELL"), NULL, "nothing is made up");
    is_str(value_of(env, "RACK_ENV"), "production", "the application's environment");
    is_str(value_of(env, "PASSENGER_BASE_URI"), NULL, "no base URI at the root");
    is_str(value_of(env, "PASSENGER_GENERATION"), "7", "the generation");
    spec.base_uri = "/shop";
    env = hp_env_make(&spec, options, &user, &kept, p);
    is_str(value_of(env, "PASSENGER_BASE_URI"), "/shop", "the base URI");
}

static void with(apr_pool_t *p)
{
    static const char *const env[] = {"PATH=/bin", "PATHS=kept", "HOME=/home/eve", NULL};
    apr_array_header_t *more = apr_array_make(p, 2, sizeof(const char *));
    const char *const *got;
    int n = 0;

    APR_ARRAY_PUSH(more, const char *) = "PATH=/srv/shop/venv/bin:/bin";
    APR_ARRAY_PUSH(more, const char *) = "VIRTUAL_ENV=/srv/shop/venv";
    got = hp_env_with(env, more, p);
    while (got[n])
        n++;
    is_int(n, 4, "one is replaced, one is new");
    is_str(value_of(got, "PATH"), "/srv/shop/venv/bin:/bin", "the new value counts");
    is_str(value_of(got, "PATHS"), "kept", "... and no other name's");
}

int main(void)
{
    apr_pool_t *p;

    apr_initialize();
    apr_pool_create(&p, NULL);
    names();
    made(p);
    with(p);
    apr_terminate();
    return done_testing();
}
