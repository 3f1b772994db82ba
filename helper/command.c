#include "helper/command.h"
#include "apr-glue/path.h"
#include "apr-glue/text.h"
#include <apr_strings.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* A script with an interpreter line is run as it says; others are the shell's. */
static const char script_starter[] = "[ -x \"$1\" ] && exec \"$1\"; exec /bin/sh \"$1\"";

/* Meteor's installer writes to the user's home, and to /usr/local/bin where it may. */
static const char meteor_starter[] =
    "for meteor in \"$(command -v meteor)\" \"$HOME/.meteor/meteor\" /usr/local/bin/meteor; do\n"
    "    [ -f \"$meteor\" ] && [ -x \"$meteor\" ] && exec \"$meteor\" run -p \"$PORT\" \"$@\"\n"
    "done\n"
    "printf '\\n!> Error\\n\\n%s\\n' \"The program meteor was found neither in PATH ($PATH), nor as $HOME/.meteor/meteor, nor as "
    "/usr/local/bin/meteor: install Meteor for the user $(id -un), or bundle the application (meteor build), unpack it, and set PassengerAppType "
    "node and PassengerStartupFile main.js.\"\n"
    "exit 1";

static const char *const *argv_of(apr_pool_t *p, const char *const *list, int n)
{
    const char **argv = apr_pcalloc(p, (apr_size_t)(n + 1) * sizeof *argv);

    memcpy(argv, list, (apr_size_t)n * sizeof *argv);
    return argv;
}

/* -- a command -- */

/* A single program takes the shell's place, so that it gets the signals; anything else needs the shell. */
static const char *shell_text(const char *command, apr_pool_t *p)
{
    static const char *const shells_own[] = {"exec", "if", "for", "while", "until", "case", "exit", "cd", ".", "eval", "set", "trap"};
    const char *first = command + strspn(command, " \t");
    apr_size_t len = strcspn(first, " \t");

    if (strpbrk(command, ";&|(){}!`\n#") || memchr(first, '=', len))
        return command;
    for (apr_size_t i = 0; i < AG_LEN(shells_own); i++) {
        if (strlen(shells_own[i]) == len && memcmp(first, shells_own[i], len) == 0)
            return command;
    }
    return apr_pstrcat(p, "exec ", first, NULL);
}

static const char *const *run_text(const char *command, apr_pool_t *p)
{
    return argv_of(p, (const char *[]){"/bin/sh", "-c", shell_text(command, p)}, 3);
}

/* Only the server's own configuration says which programs are run: a request, which names this one, may come from anybody in a child of Apache. */
static const char *const *configured(const hp_command_facts_t *facts, const char **preason, apr_pool_t *p)
{
    const char *command = facts->spec->options->app_start_command;

    if (ag_settings_granted(facts->settings, "app_start_command", command, facts->spec->app_root))
        return run_text(command, p);
    *preason = apr_psprintf(p,
                            "The start command of %s was not run: the server's configuration does not name it for that folder. "
                            "PassengerAppStartCommand has no effect in .htaccess; its owner may write it into %s/" AG_APPFILE_NAME
                            " as \"app_start_command\".",
                            facts->spec->app_root, facts->spec->app_root);
    return NULL;
}

/* What a request says of the command does not count: the file does, read by its owner. Nobody else may have a hand in what is run with the owner's
 * rights, neither in the file nor in the folder where the command looks for its programs. */
static const char *foreign_hand(const hp_command_facts_t *facts, apr_pool_t *p)
{
    const char *root = facts->spec->app_root;
    ag_path_t way;
    apr_status_t rv;

    if (!facts->switched)
        return NULL;
    if (facts->file->owner != facts->uid && facts->file->owner != 0)
        return apr_psprintf(p, "%s/" AG_APPFILE_NAME " belongs to uid %lu, but the application runs as uid %lu: let both be one user", root,
                            (unsigned long)facts->file->owner, (unsigned long)facts->uid);
    rv = ag_path_walk(&way, root, AG_PATH_FOLLOW, p);
    if (rv != APR_SUCCESS)
        return apr_psprintf(p, "the folder %s cannot be looked at: %s", root, ag_text_error(p, rv));
    if (way.st.st_uid != facts->uid && way.st.st_uid != 0)
        return apr_psprintf(p, "the folder %s belongs to uid %lu, but the application runs as uid %lu: let both be one user", root,
                            (unsigned long)way.st.st_uid, (unsigned long)facts->uid);
    if (way.st.st_uid == 0 && (way.st.st_mode & 022))
        return apr_psprintf(p, "others than root may write to the folder %s: chmod go-w it, or let it belong to the application's user", root);
    return NULL;
}

static const char *const *owners(const hp_command_facts_t *facts, const char **preason, apr_pool_t *p)
{
    const char *reason;

    if (facts->file_rv != APR_SUCCESS) {
        *preason = apr_psprintf(p, "%s: correct that, and let user id %lu read it.", facts->file_reason, (unsigned long)facts->uid);
        return NULL;
    }
    if (!facts->file->command) {
        *preason = apr_psprintf(p,
                                "%s/" AG_APPFILE_NAME " does not say how to start the application: give it an \"app_start_command\", or an "
                                "\"app_type\" that there is%s%s; or let Apache's user read it, so that the usual startup files are found.",
                                facts->spec->app_root, facts->file->type ? ", which is not " : "", facts->file->type ? facts->file->type : "");
        return NULL;
    }
    reason = foreign_hand(facts, p);
    if (!reason)
        return run_text(facts->file->command, p);
    *preason = apr_psprintf(p, "The start command of %s was not run: %s.", facts->spec->app_root, reason);
    return NULL;
}

/* By its name, so that no other file of the owner's is ever taken for one, whatever a request says. */
static const char *const *script(const hp_spec_t *spec, const char **preason, apr_pool_t *p)
{
    const char *startup = spec->startup_file;
    const char *path = startup[0] == '/' ? startup : apr_pstrcat(p, spec->app_root, "/", startup, NULL);
    apr_size_t len = strlen(startup);

    if (len <= 3 || strcmp(startup + len - 3, ".sh") != 0) {
        *preason = apr_psprintf(p, "The startup file %s is not run as a script: its name does not end in \".sh\".", path);
        return NULL;
    }
    return argv_of(p, (const char *[]){"/bin/sh", "-c", script_starter, "sh", path}, 5);
}

static const char *const *fastcgi(const hp_spec_t *spec, const char **preason, apr_pool_t *p)
{
    const char *startup = spec->startup_file, *dot = strrchr(startup, '.');
    const char *path = startup[0] == '/' ? startup : apr_pstrcat(p, spec->app_root, "/", startup, NULL);

    if (!dot || strcmp(dot, ".fcgi") != 0)
        *preason = apr_psprintf(p, "The startup file %s was not run: the name of a FastCGI program ends in .fcgi. Rename it, or use "
                                "PassengerAppStartCommand.", path);
    else if (faccessat(AT_FDCWD, path, X_OK, 0))
        *preason = apr_psprintf(p, "The startup file %s cannot be run: %s. Make it executable (chmod u+x), and let its first line name its "
                                "interpreter (#!).", path, strerror(errno));
    else
        return argv_of(p, (const char *[]){path}, 1);
    return NULL;
}

/* -- Meteor -- */

/* Whoever writes that file decides much of what the application does. */
static const char *settings_file(const hp_command_facts_t *facts, const char **preason, apr_pool_t *p)
{
    const char *named = facts->spec->options->meteor_app_settings, *root = facts->spec->app_root;
    const char *path = named[0] == '/' ? named : apr_pstrcat(p, root, "/", named, NULL);
    ag_path_t way;
    int fd;

    if (facts->switched && !ag_settings_granted(facts->settings, "meteor_app_settings", named, root) &&
        (ag_path_walk(&way, path, AG_PATH_FOLLOW, p) != APR_SUCCESS || ag_path_foreign(&way, facts->uid, 0))) {
        *preason = apr_psprintf(p,
                                "The settings %s (PassengerMeteorAppSettings) were not used: the server's configuration does not name them for %s, "
                                "and they are not a file of root's or of the application's user in a folder of theirs.",
                                path, root);
        return NULL;
    }
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        *preason = apr_psprintf(p, "The settings %s (PassengerMeteorAppSettings) cannot be read by user id %lu: %s.", path,
                                (unsigned long)facts->uid, strerror(errno));
        return NULL;
    }
    close(fd);
    return path;
}

static const char *const *meteor(const hp_command_facts_t *facts, const char **preason, apr_pool_t *p)
{
    const char *argv[8] = {"/bin/sh", "-c", meteor_starter, "meteor"};
    const ag_options_t *options = facts->spec->options;
    int n = 4;

    if (options->meteor_app_settings) {
        argv[n++] = "--settings";
        argv[n++] = settings_file(facts, preason, p);
        if (!argv[n - 1])
            return NULL;
    }
    if (strcmp(options->app_env, "production") == 0)
        argv[n++] = "--production";
    return argv_of(p, argv, n);
}

/* -- which -- */

int hp_command_by_file(const hp_kind_t *kind, const hp_spec_t *spec)
{
    return *spec->startup_file && (kind->loader || (strcmp(kind->name, HP_KIND_GENERIC) != 0 && !kind->cgi) || !spec->options->app_start_command);
}

const char *const *hp_command_make(const hp_command_facts_t *facts, const char **preason, apr_pool_t *p)
{
    if (strcmp(facts->kind->name, HP_KIND_METEOR) == 0)
        return meteor(facts, preason, p);
    if (facts->spec->options->app_start_command)
        return configured(facts, preason, p);
    if (strcmp(facts->kind->name, HP_KIND_FASTCGI) == 0 && *facts->spec->startup_file)
        return fastcgi(facts->spec, preason, p);
    if (strcmp(facts->spec->startup_file, AG_APPFILE_NAME) == 0)
        return owners(facts, preason, p);
    if (*facts->spec->startup_file)
        return script(facts->spec, preason, p);
    *preason = apr_psprintf(p, "The application %s has no start command.", facts->spec->app_root);
    return NULL;
}
