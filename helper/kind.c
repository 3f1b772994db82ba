#include "helper/kind.h"
#include <string.h>

#define INTERPRETER(field, its_directive) .option = #field, .directive = its_directive, .option_offset = offsetof(ag_options_t, field)

static const hp_kind_t kinds[] = {
    {.name = "python", INTERPRETER(python, "PassengerPython"), .interpreters = {"python3", "python"}, .loader = "wsgi-loader.py",
     .title = "Passenger PythonApp", .stacks = 1, .preloads = HP_KIND_PRELOADS_ASKED},
    {.name = "ruby", INTERPRETER(ruby, "PassengerRuby"), .interpreters = {"ruby"}, .loader = "rack-loader.rb",
     .title = "Passenger RubyApp", .stacks = 1, .preloads = HP_KIND_PRELOADS_USUALLY, .oob_work = 1},
    {.name = "nodejs", INTERPRETER(nodejs, "PassengerNodejs"), .interpreters = {"node", "nodejs"}, .loader = "node-loader.js",
     .title = "Passenger NodeApp", .advice = "; it must call listen() on an http.Server"},
    {.name = HP_KIND_METEOR, .title = "Passenger MeteorApp", .leave = HP_MSG_SIGNAL_INTERRUPT, .alone = 1},
    {.name = HP_KIND_FASTCGI, INTERPRETER(app_start_command, "PassengerAppStartCommand"), .title = "Passenger FastCGIApp",
     .leave = HP_MSG_SIGNAL_TERM, .cgi = 1, .advice = "; it must stay in the foreground and accept FastCGI connections at its descriptor 0"},
    {.name = "php", INTERPRETER(php, "PassengerPHP"), .interpreters = {"php-cgi", "php-fpm"}, .title = "Passenger PHPApp",
     .leave = HP_MSG_SIGNAL_TERM, .cgi = 1, .advice = "; PHP must be php-cgi or php-fpm"},
    {.name = HP_KIND_GENERIC, INTERPRETER(app_start_command, "PassengerAppStartCommand"), .title = "Passenger App", .leave = HP_MSG_SIGNAL_TERM,
     .advice = "; it must stay in the foreground and listen on $PORT, or at $PASSENGER_SOCKET"},
};

const hp_kind_t *hp_kind_find(const char *name)
{
    for (apr_size_t i = 0; i < AG_LEN(kinds); i++) {
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    }
    return NULL;
}

const hp_kind_t *hp_kind_named(const char *name)
{
    static const struct {
        const char *name, *other;
    } rows[] = {
#define KIND(its_name, other_name, startup, is_folder) {its_name, other_name},
#include "apr-glue/kind.def"
#undef KIND
    };

    for (apr_size_t i = 0; i < AG_LEN(rows); i++) {
        if (strcmp(rows[i].name, name) == 0 || (*name && strcmp(rows[i].other, name) == 0))
            return hp_kind_find(rows[i].name);
    }
    return NULL;
}

const char *hp_kind_advice(const char *name)
{
    const hp_kind_t *kind = hp_kind_find(name);

    return kind && kind->advice ? kind->advice : "";
}

int hp_kind_alone(const char *name)
{
    const hp_kind_t *kind = hp_kind_find(name);

    return kind && kind->alone;
}

const char *hp_kind_interpreter(const hp_kind_t *kind, const ag_options_t *options)
{
    const char *named = kind->option ? *(const char *const *)((const char *)options + kind->option_offset) : NULL;

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
