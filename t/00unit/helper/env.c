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
        is_int(may_come_from_anyone(refused[i], strlen(refused[i])), 0, "\"%s\" is kept back", refused[i]);
    for (apr_size_t i = 0; i < AG_LEN(passed); i++)
        is_int(may_come_from_anyone(passed[i], strlen(passed[i])), 1, "%s may pass", passed[i]);
}

static int grants(const char *name, const char *value)
{
    return strcmp(name, "env_var") == 0 && strcmp(value, "PYTHONPATH /srv/lib") == 0;
}

int ag_settings_granted(const ag_settings_t *settings, const char *option, const char *value, const char *app_root)
{
    return settings && strcmp(app_root, "/srv/shop") == 0 && grants(option, value);
}

static void made(apr_pool_t *p)
{
    hp_env_user_t user = {"eve", "/home/eve", NULL};
    ag_options_t *options = ag_options_create(p);
    hp_spec_t spec = {.app_root = "/srv/shop", .base_uri = "", .generation = 7, .options = options};
    hp_env_source_t source = {.spec = &spec, .user = &user};
    apr_array_header_t *interpreter = apr_array_make(p, 1, sizeof(const char *));
    static const char *const configured[] = {"MINE a=b", "LD_PRELOAD /evil.so", "PYTHONPATH /srv/lib", "IN_PASSENGER 0", "FROM_FILE", "EMPTY ",
                                             "RACK_ENV other"};
    ag_settings_t settings = {0};
    const char *const *env;
    const char *problem;
    hp_env_t made;

    options->env_var = apr_array_make(p, 8, sizeof(const char *));
    for (apr_size_t i = 0; i < AG_LEN(configured); i++)
        APR_ARRAY_PUSH(options->env_var, const char *) = configured[i];
    source.file = hp_env_parse("FROM_FILE=1\nPATH=/mine\nMINE=file\nPASSENGER_X=1", &problem, p);
    hp_env_make(&made, &source, p);
    env = (const char *const *)made.all->elts;
    is_str(value_of(env, "MINE"), "a=b", "the configuration wins over the file");
    is_str(value_of(env, "LD_PRELOAD"), NULL, "a dangerous variable does not pass");
    is_str(value_of(env, "PYTHONPATH"), NULL, "nor does another");
    is_str(value_of(env, "IN_PASSENGER"), "1", "nor what is ours to say");
    is_int(made.refused->nelts, 4, "all of which is told");
    is_str(value_of(env, "FROM_FILE"), NULL, "a name alone takes a variable away");
    is_str(value_of(env, "EMPTY"), "", "an empty value is one");
    is_str(value_of(env, "PATH"), "/mine", "a file of the user's may say anything");
    is_str(value_of(env, "HOME"), "/home/eve", "the user's home");
    is_str(value_of(env, "SHELL"), NULL, "nothing is made up");
    is_str(value_of(env, "RACK_ENV"), "other", "SetEnv wins over what follows from PassengerAppEnv");
    is_str(value_of(env, "RAILS_ENV"), "production", "the application's environment");
    is_str(value_of(env, "PASSENGER_BASE_URI"), NULL, "no base URI at the root");
    is_str(value_of(env, "PASSENGER_GENERATION"), "7", "the generation");
    source.settings = &settings;
    source.file = NULL;
    source.bin = "/srv/shop/venv/bin";
    source.interpreter = interpreter;
    APR_ARRAY_PUSH(interpreter, const char *) = "VIRTUAL_ENV=/srv/shop/venv";
    spec.base_uri = "/shop";
    hp_env_make(&made, &source, p);
    env = (const char *const *)made.all->elts;
    is_str(value_of(env, "PYTHONPATH"), "/srv/lib", "what root's configuration grants passes");
    is_str(value_of(env, "IN_PASSENGER"), "1", "but for what is ours to say");
    is_str(value_of(env, "PATH"), "/srv/shop/venv/bin:" HP_ENV_PATH, "the interpreter's folder comes first");
    is_str(value_of(env, "VIRTUAL_ENV"), "/srv/shop/venv", "with what belongs to it");
    is_str(value_of(env, "PASSENGER_BASE_URI"), "/shop", "the base URI");
}

static void parsed(apr_pool_t *p)
{
    static const struct {
        const char *text, *name, *value; /* name NULL: refused in line 1 */
    } table[] = {
        {"A=1", "A", "1"},
        {"A=1\n", "A", "1"},
        {"\n# c\n  export  A=1  \r\n", "A", "1"},
        {"A=", "A", ""},
        {"A= b c ", "A", " b c"},
        {"A='x y' # c", "A", "x y"},
        {"A=\"a\\nb \\\"q\\\" \\$x \\z\"", "A", "a\nb \"q\" $x \\z"},
        {"A=b#c", "A", "b#c"},
        {"A=1\nA=2", "A", "2"},
        {"A=b=c", "A", "b=c"},
        {"A", NULL, NULL},
        {"1A=b", NULL, NULL},
        {"A B=c", NULL, NULL},
        {"=c", NULL, NULL},
        {"A=\"b", NULL, NULL},
        {"A='b' c", NULL, NULL},
        {"source x", NULL, NULL},
    };

    for (apr_size_t i = 0; i < AG_LEN(table); i++) {
        const char *problem = NULL;
        apr_array_header_t *pairs = hp_env_parse(table[i].text, &problem, p);
        const char *expected = apr_pstrcat(p, table[i].name ? table[i].name : "", "=", table[i].value, NULL);
        if (table[i].name)
            is_str(pairs && pairs->nelts == 1 ? APR_ARRAY_IDX(pairs, 0, const char *) : NULL, expected, "line %d", (int)i);
        else
            is_str(pairs ? "" : problem, "line 1 is not of the form NAME=value", "line %d is refused", (int)i);
    }
}

int main(void)
{
    apr_pool_t *p;

    apr_initialize();
    apr_pool_create(&p, NULL);
    names();
    made(p);
    parsed(p);
    apr_terminate();
    return done_testing();
}
