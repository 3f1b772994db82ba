#include "helper/kind.h"
#include <string.h>

static const hp_kind_t kinds[] = {
    {"python", "python", "PassengerPython", {"python3", "python", NULL}, "wsgi-loader.py", "Passenger PythonApp",
     offsetof(ag_options_t, python), 1},
    {"ruby", "ruby", "PassengerRuby", {"ruby", NULL}, NULL, "Passenger RubyApp", offsetof(ag_options_t, ruby), 0},
    {"nodejs", "nodejs", "PassengerNodejs", {"node", NULL}, NULL, "Passenger NodejsApp", offsetof(ag_options_t, nodejs), 0},
    {"meteor", "ruby", "PassengerRuby", {"ruby", NULL}, NULL, "Passenger MeteorApp", offsetof(ag_options_t, ruby), 0},
};

const hp_kind_t *hp_kind_find(const char *name)
{
    for (apr_size_t i = 0; i < AG_LEN(kinds); i++) {
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    }
    return NULL;
}

const char *hp_kind_interpreter(const hp_kind_t *kind, const ag_options_t *options)
{
    const char *named = *(const char *const *)((const char *)options + kind->option_offset);

    return named && *named ? named : NULL;
}

int hp_kind_interpreter_name(const hp_kind_t *kind, const char *name)
{
    if (strcmp(kind->name, "python") == 0 && strncmp(name, "pypy", 4) == 0)
        return !name[4 + strspn(name + 4, "0123456789.")];
    for (int i = 0; kind->interpreters[i]; i++) {
        apr_size_t len = strlen(kind->interpreters[i]);
        if (strncmp(name, kind->interpreters[i], len) == 0 && !name[len + strspn(name + len, "0123456789.")])
            return 1;
    }
    return 0;
}
