#include "helper/interpreter.h"
#include "apr-glue/path.h"
#include "apr-glue/text.h"
#include "helper/env.h"
#include <apr_strings.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    const hp_hints_ask_t *ask;
    const hp_kind_t *kind;
    hp_hints_found_t *found;
    apr_pool_t *p;
} choice_t;

static const char *find_in_path(const char *name, apr_pool_t *p)
{
    char *path = apr_pstrdup(p, HP_ENV_PATH), *state = NULL;

    for (char *dir = apr_strtok(path, ":", &state); dir; dir = apr_strtok(NULL, ":", &state)) {
        const char *full = apr_pstrcat(p, dir, "/", name, NULL);
        if (access(full, X_OK) == 0)
            return full;
    }
    return NULL;
}

/* An interpreter that no root configuration named may only be what its name says, and nobody but root and the user may have a hand in it. */
static const char *check_harmless(const choice_t *c, const char *path)
{
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    ag_path_t way;
    apr_status_t rv;

    if (hp_kind_interpreter_name(c->kind, base)) {
        if (!strchr(path, '/'))
            return NULL;
        rv = ag_path_walk(&way, path, AG_PATH_FOLLOW, c->p);
        if (rv != APR_SUCCESS)
            return apr_psprintf(c->p, "The interpreter %s cannot be run: %s. Correct %s.", path, ag_text_error(c->p, rv), c->kind->directive);
        if (!ag_path_foreign(&way, c->ask->uid, 0))
            return NULL;
    }
    return apr_psprintf(c->p,
                        "The interpreter %s (%s) was not used: the server's configuration does not name it, and it is not a %s of root's or of the "
                        "application's user in a folder of theirs.",
                        path, c->kind->directive, c->kind->name);
}

static const char *missing(const choice_t *c, const char *name)
{
    return apr_psprintf(c->p, "No interpreter %s was found in %s. Install it, or name it with %s.", name, HP_ENV_PATH, c->kind->directive);
}

static const char *take_named(choice_t *c, const char *named, const char *directive)
{
    c->found->rule = directive;
    c->found->path = strchr(named, '/') ? named : find_in_path(named, c->p);
    if (!c->found->path)
        return missing(c, named);
    if (access(c->found->path, X_OK))
        return apr_psprintf(c->p, "The interpreter %s cannot be run: %s. Correct %s.", named, strerror(errno), directive);
    hp_hints_activate(c->found, c->ask, c->p);
    return NULL;
}

/* Where a version was asked for that only the system has, the program of that name comes first. */
static const char *take_systems(choice_t *c)
{
    const char *path = NULL;

    for (int i = 0; c->found->minor && !path && c->kind->interpreters[i]; i++)
        path = find_in_path(apr_pstrcat(c->p, c->kind->interpreters[i], c->found->minor, NULL), c->p);
    if (path)
        c->found->note = "";
    for (int i = 0; !path && c->kind->interpreters[i]; i++)
        path = find_in_path(c->kind->interpreters[i], c->p);
    if (!path)
        return missing(c, c->kind->interpreters[0]);
    c->found->path = path;
    if (*c->found->note)
        c->found->rule = "the system's"; /* the note says the rest */
    return NULL;
}

const char *hp_interpreter_choose(hp_hints_found_t *found, const hp_hints_ask_t *ask, const ag_settings_t *settings, const ag_options_t *options,
                                  apr_pool_t *p)
{
    choice_t c = {.ask = ask, .kind = hp_kind_find(ask->kind), .found = found, .p = p};
    const char *named = hp_kind_interpreter(c.kind, options), *problem;

    *found = (hp_hints_found_t){.rule = "the system's", .note = "", .env = apr_array_make(p, 2, sizeof(const char *))};
    if (named && !ag_settings_granted(settings, c.kind->option, named, ask->app_root) && (problem = check_harmless(&c, named)))
        return problem;
    if (named)
        return take_named(&c, named, c.kind->directive);
    /* Root's word for all applications needs no leave. */
    if (strcmp(c.kind->option, "ruby") == 0 && settings->default_ruby)
        return take_named(&c, settings->default_ruby, "PassengerDefaultRuby");
    problem = hp_hints_find(found, ask, p);
    if (problem || found->path)
        return problem;
    return take_systems(&c);
}
