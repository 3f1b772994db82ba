#include "helper/prepare.h"
#include "apr-glue/appfile.h"
#include "apr-glue/child.h"
#include "apr-glue/path.h"
#include "apr-glue/settings.h"
#include "apr-glue/text.h"
#include "helper/choice.h"
#include "helper/command.h"
#include "helper/env.h"
#include "helper/fastcgi.h"
#include "helper/generic.h"
#include "helper/interpreter.h"
#include "helper/kind.h"
#include "helper/limits.h"
#include "helper/page.h"
#include "helper/php.h"
#include "helper/porter.h"
#include "helper/scribe.h"
#include "helper/shebang.h"
#include "helper/spec.h"
#include "helper/user.h"
#include <apr_strings.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SOCKET_FD 3
#define ORDERS_FD 4
#define ENV_FILE_MAX (256 * 1024)
#define FORKS_FD  5 /* if it may become a preloader */
#define LAST_FD   5

typedef struct {
    apr_pool_t *p;
    ag_settings_t *settings;
    hp_spec_t *spec;
    const ag_options_t *options;
    const hp_kind_t *kind;
    hp_user_t user;
    hp_env_user_t passwd;
    uint32_t owner; /* of the startup file */
    hp_hints_found_t interpreter; /* all zero: there is none */
    int switched; /* from root to that user */
    const char *folder;
    unsigned held;
    ag_appfile_t file;
    apr_status_t file_rv;
    const char *file_reason;
} prepare_t;

/* Says why, in the form in which loaders do, and ends: a refused start looks to everybody like any other start that failed. */
static __attribute__((noreturn)) void AG_PRINTF(1, 2) fail(const char *fmt, ...)
{
    va_list args;

    dprintf(1, "!> I have control 1.0\n!> Error\n\n");
    va_start(args, fmt);
    vdprintf(1, fmt, args);
    va_end(args);
    dprintf(1, "\n");
    _exit(1);
}

static void read_orders(prepare_t *w)
{
    uint32_t lengths[2];
    ag_frame_reader_t in;
    char *bytes;

    if (read(ORDERS_FD, lengths, sizeof lengths) != sizeof lengths || lengths[0] > AG_FRAME_MAX || lengths[1] > AG_FRAME_MAX)
        fail("the helper's orders are incomplete");
    bytes = apr_palloc(w->p, lengths[0] + lengths[1] + 1);
    if (read(ORDERS_FD, bytes, lengths[0] + lengths[1]) != (ssize_t)(lengths[0] + lengths[1]))
        fail("the helper's orders are incomplete");
    close(ORDERS_FD);
    ag_frame_open(&in, w->p, bytes, lengths[0]);
    w->settings = ag_settings_get(&in);
    if (ag_frame_end(&in) != APR_SUCCESS)
        fail("the helper's settings are not understood");
    ag_frame_open(&in, w->p, bytes + lengths[0], lengths[1]);
    w->spec = hp_spec_get(&in);
    if (ag_frame_end(&in) != APR_SUCCESS)
        fail("the application's name, folder or options are not acceptable");
    w->options = w->spec->options;
}

/* -- who -- */

static uint32_t uid_of(const char *name)
{
    struct passwd *pw = getpwnam(name);

    return pw ? pw->pw_uid : HP_USER_NONE;
}

static uint32_t gid_of(const char *name)
{
    struct group *gr = getgrnam(name);

    return gr ? gr->gr_gid : HP_USER_NONE;
}

static uint32_t primary_gid(uint32_t uid)
{
    struct passwd *pw = getpwuid(uid);

    return pw ? pw->pw_gid : HP_USER_NONE;
}

/* Any script in the folder can be asked for, so what everybody may write must not be run. */
static void look_at_scripts(const prepare_t *w, hp_user_facts_t *facts)
{
    const char *folder = hp_php_folder(w->spec, w->p);
    ag_path_t way;
    apr_status_t rv = folder ? ag_path_walk(&way, folder, AG_PATH_FOLLOW, w->p) : EINVAL;

    if (rv == APR_SUCCESS && !S_ISDIR(way.st.st_mode))
        rv = ENOTDIR;
    if (rv != APR_SUCCESS)
        fail("The folder of PHP scripts %s cannot be opened: %s.", folder ? folder : "", ag_text_error(w->p, rv));
    if (way.st.st_mode & S_IWOTH)
        fail("The folder %s may be written by everybody, who could put scripts there that run as the application's user. Correct that "
             "(chmod o-w %s).",
             folder, folder);
    /* A site needs no front controller. */
    if (APR_SUCCESS != ag_path_walk(&facts->file, w->spec->startup_file, 0, w->p))
        facts->file = way;
}

/* Owners come from opened descriptors, and the way there is remembered: what is looked at must be what is loaded. */
static void look_at_files(const prepare_t *w, hp_user_facts_t *facts)
{
    const hp_spec_t *spec = w->spec;
    const char *startup = spec->startup_file[0] == '/' ? spec->startup_file : apr_pstrcat(w->p, spec->app_root, "/", spec->startup_file, NULL);
    apr_status_t rv = ag_path_walk(&facts->root, spec->app_root, AG_PATH_FOLLOW, w->p);

    if (rv == APR_SUCCESS && !S_ISDIR(facts->root.st.st_mode))
        rv = ENOTDIR;
    if (rv != APR_SUCCESS)
        fail("The application's folder %s cannot be opened: %s. Create it, or correct PassengerAppRoot or DocumentRoot.", spec->app_root,
             ag_text_error(w->p, rv));
    facts->app_root = spec->app_root;
    facts->root_owner = facts->root.st.st_uid;
    facts->file = facts->root;
    if (hp_php_is(spec))
        look_at_scripts(w, facts);
    else if (hp_command_by_file(w->kind, spec) && APR_SUCCESS != (rv = ag_path_walk(&facts->file, startup, 0, w->p)))
        fail("The startup file %s cannot be found: %s. Put the application there, or name another with PassengerStartupFile.", startup,
             rv == EINVAL ? "a name with \"..\" is not taken" : ag_text_error(w->p, rv));
    facts->file_owner = facts->file.st.st_uid;
    facts->file_group = facts->file.st.st_gid;
    facts->nested = strchr(spec->startup_file, '/') != NULL;
}

static void choose_user(prepare_t *w)
{
    static const hp_user_names_t names = {uid_of, gid_of, primary_gid};
    hp_user_facts_t facts = {.user = w->options->user, .group = w->options->group, .author = w->spec->author, .startup = w->spec->startup_file};
    const char *reason = "";
    struct passwd *pw;

    look_at_files(w, &facts);
    w->owner = facts.file_owner;
    w->user.uid = geteuid();
    w->user.gid = getegid();
    if (w->user.uid == 0 && hp_user_choose(&w->user, w->settings, &facts, &names, &reason, w->p) != APR_SUCCESS)
        fail("The application %s was not started: %s.", w->spec->app_root, reason);
    pw = getpwuid(w->user.uid);
    if (pw) {
        w->passwd.name = apr_pstrdup(w->p, pw->pw_name);
        w->passwd.home = apr_pstrdup(w->p, pw->pw_dir);
        w->passwd.shell = apr_pstrdup(w->p, pw->pw_shell);
    }
}

/* Its owner may do everything there, the core may pass, nobody else may do anything. Without it there is still the port. */
static void make_folder(prepare_t *w, gid_t core)
{
    int root = geteuid() == 0;

    if (mkdir(w->folder, 0700) || (root && (chown(w->folder, w->user.uid, core) || chmod(w->folder, 0710))))
        w->folder = NULL;
}

/* Root's rights end here. Every step is checked, and then whether it really happened (reliability depends on no return value alone). */
static void become_user(const prepare_t *w)
{
    uid_t r, e, s;
    gid_t rg, eg, sg;

    if (geteuid() == 0) {
        /* So that /dev/stdin, /dev/stdout and /dev/stderr can be opened. */
        for (int fd = 0; fd <= 2; fd++)
            (void)!fchown(fd, w->user.uid, w->user.gid);
        if (w->passwd.name ? initgroups(w->passwd.name, w->user.gid) : setgroups(0, NULL))
            fail("the groups of user %lu could not be set: %s", (unsigned long)w->user.uid, strerror(errno));
        if (setresgid(w->user.gid, w->user.gid, w->user.gid) || setresuid(w->user.uid, w->user.uid, w->user.uid))
            fail("the process could not become user %lu: %s", (unsigned long)w->user.uid, strerror(errno));
        if (setresuid((uid_t)-1, 0, (uid_t)-1) == 0 || setresgid((gid_t)-1, 0, (gid_t)-1) == 0)
            fail("the process could not give up root's rights");
    }
    if (getresuid(&r, &e, &s) || getresgid(&rg, &eg, &sg) || r != w->user.uid || e != r || s != r || rg != w->user.gid || eg != rg || sg != rg)
        fail("the process did not become user %lu", (unsigned long)w->user.uid);
    /* Only now: a change of user clears it (prctl(2)). If the watchdog is gone already, so is the reason to start. */
    prctl(PR_SET_PDEATHSIG, SIGTERM, 0L, 0L, 0L);
    if (getppid() == 1)
        _exit(1);
}

static void enter_folder(const prepare_t *w)
{
    const char *root = w->spec->app_root, *closed;

    if (chdir(root) == 0)
        return;
    closed = errno == EACCES ? ag_path_closed(apr_pstrcat(w->p, root, "/", NULL), w->p) : NULL;
    if (closed)
        fail("The user %s may not enter %s. Give it the right to (chmod a+x %s), or let the application belong to another user.",
             w->passwd.name ? w->passwd.name : "of the application", closed, closed);
    fail("The application's folder %s cannot be entered: %s.", root, strerror(errno));
}

/* -- what -- */

/* NULL, or why there is none. */
static const char *choose_interpreter(prepare_t *w, const hp_kind_t *kind)
{
    hp_hints_ask_t ask = {.kind = kind->name, .app_root = w->spec->app_root, .home = w->passwd.home, .uid = w->user.uid, .owner = w->owner};

    return hp_interpreter_choose(&w->interpreter, &ask, w->settings, w->options, w->p);
}

static void tell_choice(const prepare_t *w)
{
    dprintf(1, "%s\n", hp_choice_line(&w->interpreter, w->p));
}

static const char *interpreter(prepare_t *w)
{
    const char *problem = choose_interpreter(w, w->kind);

    if (problem)
        fail("%s", problem);
    return w->interpreter.path;
}

static const char *loader(const prepare_t *w)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    char *slash;

    path[n > 0 ? n : 0] = '\0';
    slash = strrchr(path, '/');
    if (!slash)
        fail("/proc is not mounted");
    *slash = '\0';
    return apr_pstrcat(w->p, path, "/loaders/", w->kind->loader, NULL);
}

/* The login shell gives the application what its owner's profile sets; one that is no shell of the Bourne family is left out. */
static const char *login_shell(const prepare_t *w)
{
    static const char *const known[] = {"bash", "zsh", "ksh", "sh", "dash"};
    const char *shell = w->passwd.shell, *base = shell ? strrchr(shell, '/') : NULL;

    for (apr_size_t i = 0; base && w->options->load_shell_envvars && i < AG_LEN(known); i++) {
        if (strcmp(base + 1, known[i]) == 0 && access(shell, X_OK) == 0)
            return shell;
    }
    return NULL;
}

static void limits(const prepare_t *w)
{
    const hp_limits_who_t who = {.uid = w->user.uid, .may_fork = fcntl(FORKS_FD, F_GETFD) >= 0, .servant = w->spec->errand != HP_SPEC_APP,
                                   .held = w->held};
    hp_budget_t budget;

    hp_budget_make(&budget, w->spec, w->settings);
    hp_limits_apply(&budget, &who);
}

/* What the kernel would say of it names the wrong file. */
static void check_script(const prepare_t *w, const char *script)
{
    const char *problem = strchr(script, '/') ? hp_shebang_problem(script, w->p) : NULL;

    if (problem)
        fail("%s %s.", script, problem);
}

/* What makes an application of the kinds that have loaders. */
static const char *const *loader_command(prepare_t *w)
{
    const char **argv = apr_pcalloc(w->p, 3 * sizeof *argv);

    if (!*w->spec->startup_file)
        fail("The application %s has no startup file. Name it with PassengerStartupFile.", w->spec->app_root);
    argv[0] = interpreter(w);
    check_script(w, argv[0]);
    argv[1] = loader(w);
    return argv;
}

/* A command of an application whose type was named finds that type's programs before all others. */
static void choose_tools(prepare_t *w)
{
    const char *type = w->options->app_type ? w->options->app_type : w->file_rv == APR_SUCCESS ? w->file.type : NULL;
    const hp_kind_t *kind = type ? hp_kind_named(type) : NULL;
    hp_hints_found_t *found = &w->interpreter;
    const char *problem = kind && kind->loader ? choose_interpreter(w, kind) : NULL;

    if (problem)
        dprintf(2, "%s\n", problem);
    else if (found->path)
        tell_choice(w);
    if (!problem && found->path && found->path[0] == '/' && !found->bin)
        found->bin = apr_pstrmemdup(w->p, found->path, (apr_size_t)(strrchr(found->path, '/') - found->path));
}

/* What an application without a loader is started by. */
static const char *const *make_command(prepare_t *w)
{
    const hp_command_facts_t facts = {.settings = w->settings, .spec = w->spec, .kind = w->kind, .uid = w->user.uid, .switched = w->switched,
                                      .file_rv = w->file_rv, .file_reason = w->file_reason, .file = &w->file};
    const char *reason = "";
    const char *const *command = hp_command_make(&facts, &reason, w->p);
    const char *text = w->options->app_start_command ? w->options->app_start_command : w->file_rv == APR_SUCCESS ? w->file.command : NULL;

    if (!command)
        fail("%s", reason);
    if (text)
        check_script(w, apr_pstrmemdup(w->p, text, strcspn(text, " \t")));
    choose_tools(w);
    return command;
}

static const char *const *own_command(prepare_t *w)
{
    const char *const *command = make_command(w), *const *argv;
    const char *reason = "";

    ag_child_close_from(SOCKET_FD);
    argv = hp_generic_begin(command, w->folder, &reason, w->p);
    if (!argv)
        fail("The application %s was not started: %s.", w->spec->app_root, reason);
    return argv;
}

static const char *php_program(prepare_t *w)
{
    hp_hints_found_t *found = &w->interpreter;

    if (hp_kind_interpreter(w->kind, w->options)) {
        check_script(w, interpreter(w));
    } else {
        found->path = hp_php_find(HP_ENV_PATH, w->p);
        found->rule = "the system's";
        found->note = "";
    }
    if (!found->path)
        fail("Neither php-cgi nor php-fpm was found in %s. Install one of them, or name it with %s.", HP_ENV_PATH, w->kind->directive);
    tell_choice(w);
    return found->path;
}

/* What makes an application of the kinds that speak FastCGI. */
static const char *const *fastcgi_command(prepare_t *w)
{
    int php = hp_php_is(w->spec), threads = !php && strcmp(w->options->concurrency_model, "thread") == 0;
    const char *program = php && !w->options->app_start_command ? php_program(w) : NULL, *socket, *reason = "";
    const char *const *command = program ? NULL : make_command(w);

    ag_child_close_from(SOCKET_FD);
    if (!hp_fastcgi_begin(w->folder, threads ? w->options->thread_count : 1, &socket, &reason, w->p))
        fail("The application %s was not started: %s.", w->spec->app_root, reason);
    command = program ? hp_php_command(program, w->folder, socket, &reason, w->p) : hp_fastcgi_wrap(command, w->p);
    if (!command)
        fail("The application %s was not started: %s.", w->spec->app_root, reason);
    if (!hp_generic_greet())
        _exit(1);
    return command;
}

/* Variables of a file that its owner keeps for the application. Whoever can name a file in a request must not be able to make one up. */
static apr_array_header_t *env_file(const prepare_t *w)
{
    const char *name = w->options->env_file, *path, *problem = NULL;
    apr_array_header_t *pairs = NULL;
    char *text = NULL;
    apr_status_t rv;

    if (!name)
        return NULL;
    path = name[0] == '/' ? name : apr_pstrcat(w->p, w->spec->app_root, "/", name, NULL);
    rv = ag_path_read(&text, path, w->user.uid, ENV_FILE_MAX, w->p);
    if (rv == APR_SUCCESS)
        pairs = hp_env_parse(text, &problem, w->p);
    else
        problem = rv == EPERM ? "it, or a folder or link on the way to it, belongs to somebody who is neither root nor the application's user, or "
                                "others may write to it"
                  : rv == E2BIG ? "it is larger than 256 KiB"
                  : rv == EILSEQ ? "there is a NUL in it" : ag_text_error(w->p, rv);
    if (!pairs)
        fail("The environment file %s (PassengerEnvFile) was not read: %s.", path, problem);
    return pairs;
}

/* What the owner has written down for the application: Passengerfile.json, then the environment file. */
static const apr_array_header_t *own_variables(const prepare_t *w)
{
    const apr_array_header_t *file = env_file(w), *none = apr_array_make(w->p, 1, sizeof(const char *));

    if (w->file_rv != APR_SUCCESS) {
        if (!APR_STATUS_IS_ENOENT(w->file_rv))
            dprintf(2, "%s; its variables are not set\n", w->file_reason);
        return file;
    }
    if (w->switched && w->file.owner != w->user.uid && w->file.owner != 0) {
        dprintf(2, AG_APPFILE_NAME " belongs to uid %lu, not to the application's user; its variables are not set\n", (unsigned long)w->file.owner);
        return file;
    }
    return apr_array_append(w->p, w->file.env, file ? file : none);
}

/* The line about the interpreter is written when the profile is over, so that it tells that too. */
static const char *const *through_shell(const prepare_t *w, const hp_env_t *env, const char *const *command, const char *const **penv)
{
    apr_array_header_t *argv = apr_array_make(w->p, 16, sizeof(const char *));
    int tells = w->kind->loader != NULL;

    APR_ARRAY_PUSH(argv, const char *) = login_shell(w);
    APR_ARRAY_PUSH(argv, const char *) = "-lc";
    APR_ARRAY_PUSH(argv, const char *) =
        apr_pstrcat(w->p, tells ? "printf '%s\\n' \"$0\"; " : "", hp_env_through_shell(env, penv, w->p), NULL);
    APR_ARRAY_PUSH(argv, const char *) = tells ? hp_choice_line(&w->interpreter, w->p) : "passenger";
    while (*command)
        APR_ARRAY_PUSH(argv, const char *) = *command++;
    APR_ARRAY_PUSH(argv, const char *) = NULL;
    return (const char *const *)argv->elts;
}

static __attribute__((noreturn)) void run(prepare_t *w)
{
    hp_env_source_t source = {.spec = w->spec, .user = &w->passwd, .settings = w->settings, .file = own_variables(w)};
    const hp_page_ask_t page = {.settings = w->settings, .app_root = w->spec->app_root, .name = w->options->custom_error_page, .uid = w->user.uid};
    const char *const *direct, *const *shell_env, *const *shell;
    hp_env_t env;

    /* A preloader finds its orders where the helper's were. */
    ag_child_close_from(dup2(FORKS_FD, ORDERS_FD) < 0 ? ORDERS_FD : ORDERS_FD + 1);
    if (w->options->custom_error_page && *w->options->custom_error_page)
        hp_page_send(1, &page, w->p);
    direct = w->kind->loader ? loader_command(w) : w->kind->cgi ? fastcgi_command(w) : own_command(w);
    source.interpreter = w->interpreter.env;
    source.bin = w->interpreter.bin;
    hp_env_make(&env, &source, w->p);
    for (int i = 0; i < env.refused->nelts; i++)
        dprintf(2, "The variable %s was not put into the process environment: it can decide what code runs, so it is taken only from the server's "
                "configuration or from a file (PassengerEnvFile)\n", APR_ARRAY_IDX(env.refused, i, const char *));
    shell = through_shell(w, &env, direct, &shell_env);
    if (shell[0])
        ag_child_exec(shell[0], shell, shell_env);
    if (w->kind->loader)
        tell_choice(w);
    fail("%s cannot be run: %s", direct[0], strerror(ag_child_exec(direct[0], direct, (const char *const *)env.all->elts)));
}

static const char *in_folder(const prepare_t *w, const char *name)
{
    return name[0] == '/' ? name : apr_pstrcat(w->p, w->spec->app_root, "/", name, NULL);
}

/* Whoever can send a request to the core can name a file; what could not be a log is written only if the server's configuration names it. */
static __attribute__((noreturn)) void write_log(const prepare_t *w)
{
    const char *name = w->options->app_log_file;

    if (!name || (!ag_settings_granted(w->settings, "app_log_file", name, w->spec->app_root) && !hp_scribe_plausible(name)))
        fail("The log file %s (PassengerAppLogFile) is not written: the server's configuration does not name it, and neither does its name end in "
             ".log, nor is its folder called log or logs.", name ? name : "");
    ag_child_close_from(SOCKET_FD + 1);
    hp_scribe_run(in_folder(w, name));
}

/* Places that a request names, and the server's configuration does not, are none. */
static __attribute__((noreturn)) void open_files(const prepare_t *w)
{
    const apr_array_header_t *folders = w->options->x_sendfile_path, *mappings = w->options->x_accel_mapping;
    apr_array_header_t *known = apr_array_make(w->p, 4, sizeof(const char *)), *mapped = apr_array_make(w->p, 4, sizeof(const char *));
    const hp_porter_places_t places = {
        .app_root = w->spec->app_root, .folders = known, .mappings = mapped,
        .user = w->passwd.name ? w->passwd.name : apr_psprintf(w->p, "%lu", (unsigned long)w->user.uid)};

    for (int i = 0; folders && i < folders->nelts; i++) {
        const char *folder = APR_ARRAY_IDX(folders, i, const char *);
        if (ag_settings_granted(w->settings, "x_sendfile_path", folder, w->spec->app_root))
            APR_ARRAY_PUSH(known, const char *) = in_folder(w, folder);
    }
    for (int i = 0; mappings && i < mappings->nelts; i++) {
        const char *mapping = APR_ARRAY_IDX(mappings, i, const char *), *blank = strchr(mapping, ' ');
        if (blank && blank[1] && ag_settings_granted(w->settings, "x_accel_mapping", mapping, w->spec->app_root))
            APR_ARRAY_PUSH(mapped, const char *) =
                apr_pstrcat(w->p, apr_pstrmemdup(w->p, mapping, (apr_size_t)(blank + 1 - mapping)), in_folder(w, blank + 1), NULL);
    }
    ag_child_close_from(SOCKET_FD + 1);
    hp_porter_run(&places);
}

int hp_prepare_run(const char *folder, const char *gid, const char *held)
{
    prepare_t w = {.folder = folder, .held = (unsigned)strtoul(held, NULL, 10)};

    ag_child_close_from(LAST_FD + 1);
    umask(022);
    apr_pool_create(&w.p, NULL);
    read_orders(&w);
    w.kind = hp_kind_find(w.spec->kind);
    if (!w.kind)
        fail("This version of mod_passenger does not start applications of type %s.", w.spec->kind);
    w.switched = geteuid() == 0;
    choose_user(&w);
    if (!w.kind->loader)
        make_folder(&w, (gid_t)strtoul(gid, NULL, 10));
    limits(&w);
    become_user(&w);
    enter_folder(&w);
    if (w.spec->errand == HP_SPEC_SCRIBE)
        write_log(&w);
    if (w.spec->errand == HP_SPEC_PORTER)
        open_files(&w);
    w.file_rv = ag_appfile_read(&w.file, w.spec->app_root, &w.file_reason, w.p);
    run(&w);
}
