#include "helper/hints.h"
#include "apr-glue/path.h"
#include "helper/version.h"
#include <apr_strings.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAX_SIZE 4096
#define INSTALLED_MAX 1000 /* versions in one folder */

/* Of one language: environments are folders with bin/<program>, files are looked for in the application's folder and all above it. */
typedef struct {
    const char *kind, *program;
    const char *environments[4]; /* in the application's folder */
    const char *panel;           /* CloudLinux: ~/<panel>/<path of the application>/<version>/bin/<program> */
    const char *files[3];        /* nearest first, then in this order */
    const char *tools[3];        /* its names in .tool-versions */
    int enclosing;               /* an application may lie in an environment */
} language_t;

static const language_t languages[] = {
    {"python", "python", {"venv", ".venv", "env"}, "virtualenv", {".python-version"}, {"python"}, 1},
    {"ruby", "ruby", {NULL}, "rubyvenv", {".ruby-version"}, {"ruby"}, 0},
    {"nodejs", "node", {"nodevenv"}, "nodevenv", {".nvmrc", ".node-version"}, {"nodejs", "node"}, 0},
};

/* Where version managers keep what they have installed; with the way from there to the program. A wrapper sets its environment itself. */
typedef struct {
    const char *kind, *folder, *program;
    int wrapper;
    const char *gems; /* where packages of this manager are, by version */
} manager_t;

static const manager_t managers[] = {
    {"python", "~/.pyenv/versions", "bin/python", 0, NULL},
    {"python", "~/.asdf/installs/python", "bin/python", 0, NULL},
    {"python", "~/.local/share/mise/installs/python", "bin/python", 0, NULL},
    {"ruby", "~/.rbenv/versions", "bin/ruby", 0, NULL},
    {"ruby", "~/.rvm/wrappers", "ruby", 1, NULL},
    {"ruby", "~/.rvm/rubies", "bin/ruby", 0, "~/.rvm/gems"},
    {"ruby", "~/.rubies", "bin/ruby", 0, "~/.gem/ruby"},
    {"ruby", "~/.asdf/installs/ruby", "bin/ruby", 0, NULL},
    {"ruby", "~/.local/share/mise/installs/ruby", "bin/ruby", 0, NULL},
    {"ruby", "/usr/local/rbenv/versions", "bin/ruby", 0, NULL},
    {"ruby", "/usr/local/rvm/wrappers", "ruby", 1, NULL},
    {"ruby", "/usr/local/rvm/rubies", "bin/ruby", 0, "/usr/local/rvm/gems"},
    {"ruby", "/opt/rubies", "bin/ruby", 0, "~/.gem/ruby"},
    {"nodejs", "~/.nvm/versions/node", "bin/node", 0, NULL},
    {"nodejs", "~/.nodenv/versions", "bin/node", 0, NULL},
    {"nodejs", "~/.local/share/fnm/node-versions", "installation/bin/node", 0, NULL},
    {"nodejs", "~/.asdf/installs/nodejs", "bin/node", 0, NULL},
    {"nodejs", "~/.local/share/mise/installs/node", "bin/node", 0, NULL},
    {"nodejs", "/usr/local/n/versions/node", "bin/node", 0, NULL},
};

typedef struct {
    const hp_hints_ask_t *ask;
    const language_t *language;
    hp_hints_found_t *found;
    apr_pool_t *p;
} look_t;

typedef enum { ABSENT, USABLE, FOREIGN, BROKEN } state_t;

static const char *join(const look_t *l, const char *dir, const char *name)
{
    return apr_pstrcat(l->p, dir, dir[1] ? "/" : "", name, NULL);
}

/* As a person in the application's folder would write it. */
static const char *shown(const look_t *l, const char *path)
{
    apr_size_t len = strlen(l->ask->app_root);

    return strncmp(path, l->ask->app_root, len) == 0 && path[len] == '/' ? path + len + 1 : path;
}

static void note(look_t *l, const char *sentence)
{
    l->found->note = *l->found->note ? apr_pstrcat(l->p, l->found->note, "; ", sentence, NULL) : sentence;
}

/* -- whether a file may be used -- */

/* The first step on the way that belongs to somebody who could make the application run other code than its own. */
static const ag_path_step_t *stranger(const hp_hints_ask_t *ask, const ag_path_t *way)
{
    for (int i = 0; i < way->steps->nelts; i++) {
        const ag_path_step_t *step = &APR_ARRAY_IDX(way->steps, i, ag_path_step_t);
        if (step->owner != 0 && step->owner != ask->uid && step->owner != ask->owner)
            return step;
    }
    return NULL;
}

/* `pstep`: of FOREIGN, what belongs to a stranger; of BROKEN, the symbolic link that leads nowhere, or NULL. */
static state_t look_at(const look_t *l, const char *path, const ag_path_step_t **pstep)
{
    ag_path_t way;
    apr_status_t rv = ag_path_walk(&way, path, AG_PATH_FOLLOW | AG_PATH_CLIMB, l->p);
    const ag_path_step_t *last = way.steps->nelts > 0 ? &APR_ARRAY_IDX(way.steps, way.steps->nelts - 1, ag_path_step_t) : NULL;
    struct stat st;

    *pstep = NULL;
    if (rv != APR_SUCCESS && lstat(path, &st))
        return ABSENT;
    if ((*pstep = stranger(l->ask, &way)))
        return FOREIGN;
    for (int i = way.steps->nelts; rv != APR_SUCCESS && i > 0; i--) {
        last = &APR_ARRAY_IDX(way.steps, i - 1, ag_path_step_t);
        if (last->link)
            break;
    }
    *pstep = rv != APR_SUCCESS ? last : NULL;
    if (rv != APR_SUCCESS || !S_ISREG(way.st.st_mode))
        return BROKEN;
    return USABLE;
}

static state_t program_at(const look_t *l, const char *path)
{
    const ag_path_step_t *step;
    state_t state = look_at(l, path, &step);

    return state == USABLE && access(path, X_OK) ? BROKEN : state;
}

/* The beginning of a file, or NULL. One that is no plain file could keep whoever opens it waiting. */
static const char *text_of(const look_t *l, const char *path)
{
    const ag_path_step_t *step;
    struct stat st;
    char text[FILE_MAX_SIZE + 1];
    ssize_t n = 0;
    int fd;

    if (look_at(l, path, &step) != USABLE)
        return NULL;
    fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        n = read(fd, text, FILE_MAX_SIZE);
    close(fd);
    return n > 0 ? apr_pstrmemdup(l->p, text, strnlen(text, (apr_size_t)n)) : NULL;
}

/* -- environments -- */

static void set(look_t *l, const char *name, const char *value)
{
    APR_ARRAY_PUSH(l->found->env, const char *) = apr_pstrcat(l->p, name, "=", value, NULL);
}

static const char *parent(const look_t *l, const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash > path ? apr_pstrmemdup(l->p, path, (apr_size_t)(slash - path)) : "/";
}

static void take(look_t *l, const char *path, const char *rule)
{
    l->found->path = path;
    l->found->rule = rule;
    l->found->bin = parent(l, path);
}

static void activate(look_t *l)
{
    const ag_path_step_t *step;
    const char *bin = parent(l, l->found->path), *folder = parent(l, bin);

    if (look_at(l, join(l, folder, "pyvenv.cfg"), &step) != USABLE)
        return;
    l->found->bin = bin;
    set(l, "VIRTUAL_ENV", folder);
}

static const char *broken(const look_t *l, const char *environment, const char *program)
{
    const ag_path_step_t *step;
    char target[1024];
    ssize_t n;

    look_at(l, program, &step);
    n = step && step->link ? readlink(step->name, target, sizeof target - 1) : -1;
    if (n > 0) {
        target[n] = '\0';
        return apr_psprintf(l->p,
                            "The interpreter %s leads to %s, which is not there: what the environment was made for has been moved or removed. Make "
                            "%s anew (python3 -m venv --clear)",
                            program, target, environment);
    }
    return apr_psprintf(l->p, "The interpreter %s cannot be run: %s. Mend or remove the environment %s", program,
                        access(program, X_OK) ? strerror(errno) : "it is no plain file", environment);
}

/* An environment that is there but of no use is an error, since without it the application would miss its packages. */
static const char *look_in(look_t *l, const char *folder)
{
    const char *program = apr_pstrcat(l->p, folder, "/bin/", l->language->program, NULL), *config = join(l, folder, "pyvenv.cfg");
    const ag_path_step_t *step, *config_step;
    state_t state = look_at(l, program, &step), config_state = look_at(l, config, &config_step);

    /* The interpreter reads there where its own modules are. */
    if (state == USABLE && config_state == FOREIGN) {
        state = FOREIGN;
        step = config_step;
    }
    if (state == FOREIGN)
        note(l, apr_psprintf(l->p, "%s is not used, because %s belongs to uid %lu, neither root nor the application's user", program, step->name,
                             (unsigned long)step->owner));
    else if (state == BROKEN || (state == USABLE && access(program, X_OK)))
        return apr_psprintf(l->p, "%s, or name another interpreter.", broken(l, folder, program));
    else if (state == ABSENT && config_state == USABLE)
        return apr_psprintf(l->p, "%s is a virtual environment without bin/%s. Make it anew on this machine (python3 -m venv --clear %s), or name "
                            "another interpreter.", folder, l->language->program, folder);
    else if (state == USABLE)
        take(l, program, apr_pstrcat(l->p, "found: ", shown(l, program), NULL));
    return NULL;
}

/* The nearest one that the application lies in. */
static void look_around(look_t *l)
{
    const ag_path_step_t *step;

    for (const char *folder = l->ask->app_root; folder[1]; folder = parent(l, folder)) {
        const char *program = apr_pstrcat(l->p, folder, "/bin/", l->language->program, NULL);
        if (program_at(l, program) != USABLE)
            continue;
        if (look_at(l, join(l, folder, "pyvenv.cfg"), &step) != USABLE && look_at(l, join(l, folder, "bin/activate"), &step) != USABLE)
            continue;
        take(l, program, apr_psprintf(l->p, "found: the application lies in the environment %s", folder));
        return;
    }
}

/* -- versions -- */

static apr_array_header_t *names_in(const look_t *l, const char *folder)
{
    apr_array_header_t *names = apr_array_make(l->p, 8, sizeof(const char *));
    DIR *dir = opendir(folder);
    struct dirent *entry;

    while (dir && names->nelts < INSTALLED_MAX && (entry = readdir(dir))) {
        if (entry->d_name[0] != '.')
            APR_ARRAY_PUSH(names, const char *) = apr_pstrdup(l->p, entry->d_name);
    }
    if (dir)
        closedir(dir);
    return names;
}

static const char *at_home(const look_t *l, const char *path)
{
    if (path[0] != '~')
        return path;
    return l->ask->home && l->ask->home[0] == '/' ? apr_pstrcat(l->p, l->ask->home, path + 1, NULL) : NULL;
}

/* The newest of an application's versions that can be used. */
static void look_at_panel(look_t *l)
{
    const char *home = l->ask->home, *folder, *best = NULL, *program = NULL;
    apr_size_t len = home ? strlen(home) : 0;
    apr_array_header_t *names;

    if (len < 2 || strncmp(l->ask->app_root, home, len) != 0 || l->ask->app_root[len] != '/')
        return;
    folder = apr_pstrcat(l->p, home, "/", l->language->panel, l->ask->app_root + len, NULL);
    names = names_in(l, folder);
    for (int i = 0; i < names->nelts; i++) {
        const char *name = APR_ARRAY_IDX(names, i, const char *);
        const char *candidate = apr_pstrcat(l->p, folder, "/", name, "/bin/", l->language->program, NULL);
        if ((best && hp_version_compare(name, best) < 0) || program_at(l, candidate) != USABLE)
            continue;
        best = name;
        program = candidate;
    }
    if (program)
        take(l, program, apr_psprintf(l->p, "found: ~%s", program + len));
}

static void set_gems(look_t *l, const manager_t *manager, const char *version, const char *wanted)
{
    const char *gems = manager->gems ? at_home(l, manager->gems) : NULL, *set_name = strchr(wanted, '@'), *own;

    if (!gems || strchr(version, '/'))
        return;
    if (!manager->wrapper && strstr(gems, "/.gem/") && strncmp(version, "ruby-", 5) == 0)
        version += 5;
    own = apr_pstrcat(l->p, gems, "/", version, set_name ? set_name : "", NULL);
    if (access(own, X_OK))
        return;
    set(l, "GEM_HOME", own);
    if (strstr(gems, "rvm/"))
        set(l, "GEM_PATH", apr_pstrcat(l->p, own, ":", gems, "/", version, "@global", NULL));
}

static int look_at_manager(look_t *l, const manager_t *manager, const char *wanted, const char *file)
{
    const char *folder = at_home(l, manager->folder), *version, *program;
    apr_array_header_t *names = names_in(l, folder);

    version = strchr(wanted, '/') ? wanted : hp_version_match(wanted, names);
    if (!version && strchr(wanted, '@'))
        version = hp_version_match(apr_pstrmemdup(l->p, wanted, strcspn(wanted, "@")), names);
    if (!version)
        return 0;
    program = apr_pstrcat(l->p, folder, "/", version, "/", manager->program, NULL);
    if (program_at(l, program) != USABLE)
        return 0;
    take(l, program, apr_psprintf(l->p, "found: %s asks for %s", shown(l, file), *wanted ? wanted : "the newest"));
    if (manager->wrapper)
        l->found->bin = NULL;
    set_gems(l, manager, version, wanted);
    return 1;
}

/* nvm's names for versions are files; "" is the newest. NULL: no such name. */
static const char *alias(const look_t *l, const char *name)
{
    static const char *const newest[] = {"node", "stable", "latest", "current", "*"};
    const char *folder = at_home(l, "~/.nvm/alias/"), *text;

    for (int i = 0; folder && i < 8 && (text = text_of(l, apr_pstrcat(l->p, folder, name, NULL))); i++) {
        apr_array_header_t *words = hp_version_words(text, NULL, l->p);
        if (words->nelts == 0)
            break;
        name = APR_ARRAY_IDX(words, 0, const char *);
    }
    for (apr_size_t i = 0; i < AG_LEN(newest); i++) {
        if (strcmp(name, newest[i]) == 0)
            return "";
    }
    return name;
}

/* 1 if it decides: what it asks for is there, or is the system's. */
static int look_for(look_t *l, const char *wanted, const char *file)
{
    if (strcmp(l->language->kind, "nodejs") == 0)
        wanted = alias(l, wanted);
    for (apr_size_t i = 0; i < AG_LEN(managers); i++) {
        if (strcmp(managers[i].kind, l->language->kind) == 0 && at_home(l, managers[i].folder) && look_at_manager(l, &managers[i], wanted, file))
            return 1;
    }
    return 0;
}

static const char *managers_there(const look_t *l)
{
    const char *list = NULL;

    for (apr_size_t i = 0; i < AG_LEN(managers); i++) {
        const char *folder = at_home(l, managers[i].folder);
        if (strcmp(managers[i].kind, l->language->kind) == 0 && folder && access(folder, X_OK) == 0)
            list = list ? apr_pstrcat(l->p, list, ", ", managers[i].folder, NULL) : managers[i].folder;
    }
    return list;
}

/* What is asked for but not installed is no error: files like these come with an application's code, and are true only where it was written. */
static void look_at_words(look_t *l, const apr_array_header_t *words, const char *file)
{
    const char *there = managers_there(l), *first = APR_ARRAY_IDX(words, 0, const char *);

    for (int i = 0; i < words->nelts; i++) {
        const char *wanted = APR_ARRAY_IDX(words, i, const char *);
        if (strcmp(wanted, "system") == 0) {
            l->found->rule = apr_pstrcat(l->p, "the system's, as ", shown(l, file), " says", NULL);
            return;
        }
        if (look_for(l, wanted, file))
            return;
    }
    l->found->minor = hp_version_minor(first, l->p);
    l->found->rule = apr_psprintf(l->p, HP_HINTS_INSTEAD "%s asks for %s", shown(l, file), first);
    if (there)
        note(l, apr_psprintf(l->p, "%s asks for %s, which is not installed in %s", file, first, there));
}

/* 1 if there was a file to go by. */
static int look_at_file(look_t *l, const char *folder, const char *name, const char *const *tools)
{
    const char *file = join(l, folder, name), *text = text_of(l, file);
    apr_array_header_t *words = text ? hp_version_words(text, tools, l->p) : NULL;

    if (!words || words->nelts == 0)
        return 0;
    look_at_words(l, words, file);
    return 1;
}

static void look_at_files(look_t *l)
{
    for (const char *folder = l->ask->app_root;; folder = parent(l, folder)) {
        for (int i = 0; l->language->files[i]; i++) {
            if (look_at_file(l, folder, l->language->files[i], NULL))
                return;
        }
        if (look_at_file(l, folder, ".tool-versions", l->language->tools) || !folder[1])
            return;
    }
}

/* -- all of it -- */

void hp_hints_activate(hp_hints_found_t *found, const hp_hints_ask_t *ask, apr_pool_t *p)
{
    look_t l = {.ask = ask, .found = found, .p = p};

    activate(&l);
}

const char *hp_hints_find(hp_hints_found_t *found, const hp_hints_ask_t *ask, apr_pool_t *p)
{
    look_t l = {.ask = ask, .found = found, .p = p};
    const char *problem = NULL;

    for (apr_size_t i = 0; i < AG_LEN(languages); i++) {
        if (strcmp(languages[i].kind, ask->kind) == 0)
            l.language = &languages[i];
    }
    if (!l.language)
        return NULL;
    for (int i = 0; !found->path && !problem && l.language->environments[i]; i++)
        problem = look_in(&l, join(&l, ask->app_root, l.language->environments[i]));
    if (problem)
        return problem;
    if (!found->path && l.language->enclosing)
        look_around(&l);
    if (!found->path)
        look_at_panel(&l);
    if (!found->path)
        look_at_files(&l);
    if (found->path)
        activate(&l);
    return NULL;
}
