#include "helper/php.h"
#include "apr-glue/text.h"
#include <apr_strings.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

int hp_php_is(const hp_spec_t *spec)
{
    return strcmp(spec->kind, HP_PHP_KIND) == 0;
}

static apr_size_t folder_len(const hp_spec_t *spec)
{
    const char *slash = strrchr(spec->startup_file, '/');

    return slash && spec->startup_file[0] == '/' ? (apr_size_t)(slash - spec->startup_file) : 0;
}

const char *hp_php_folder(const hp_spec_t *spec, apr_pool_t *p)
{
    apr_size_t len = folder_len(spec);

    return len ? apr_pstrmemdup(p, spec->startup_file, len) : NULL;
}

/* Names that Debian's and PHP's own configuration for Apache run. */
static int is_script(const char *path)
{
    static const char *const endings[] = {".php", ".phtml", ".phar"};
    const char *dot = strrchr(path, '.');

    for (apr_size_t i = 0; dot && i < AG_LEN(endings); i++) {
        if (strcasecmp(dot, endings[i]) == 0)
            return 1;
    }
    return 0;
}

static int may_run(const hp_spec_t *spec, const char *script)
{
    apr_size_t len = folder_len(spec);

    if (strcmp(script, spec->startup_file) == 0)
        return 1;
    return len > 0 && strncmp(script, spec->startup_file, len) == 0 && script[len] == '/' && !strstr(script, "/../") && is_script(script);
}

int hp_php_may_run(const hp_spec_t *spec, const char *pairs, apr_size_t len)
{
    int n = 0;

    for (const char *at = pairs, *value; at < pairs + len; at = value + strlen(value) + 1) {
        value = at + strlen(at) + 1;
        if (strcmp(at, "SCRIPT_FILENAME") != 0)
            continue;
        if (!may_run(spec, value))
            return 0;
        n++;
    }
    return n > 0;
}

/* -- the program -- */

/* Of those called "<name><version>" in a folder, the newest. */
static const char *newest(const char *dir, const char *name, apr_pool_t *p)
{
    apr_size_t len = strlen(name);
    const char *best = NULL;
    DIR *d = opendir(dir);
    struct dirent *e;

    while (d && (e = readdir(d))) {
        const char *version = e->d_name + len;
        if (strncmp(e->d_name, name, len) == 0 && *version && !version[strspn(version, "0123456789.")] &&
            (!best || strverscmp(e->d_name, best) > 0))
            best = apr_pstrdup(p, e->d_name);
    }
    if (d)
        closedir(d);
    return best ? apr_pstrcat(p, dir, "/", best, NULL) : NULL;
}

static const char *look(const char *path, const char *name, int versions, apr_pool_t *p)
{
    char *copy = apr_pstrdup(p, path), *state = NULL;

    for (char *dir = apr_strtok(copy, ":", &state); dir; dir = apr_strtok(NULL, ":", &state)) {
        const char *found = versions ? newest(dir, name, p) : apr_pstrcat(p, dir, "/", name, NULL);
        if (found && faccessat(AT_FDCWD, found, X_OK, 0) == 0)
            return found;
    }
    return NULL;
}

const char *hp_php_find(const char *path, apr_pool_t *p)
{
    static const char *const names[] = {"php-cgi", "php-fpm"};
    const char *found = NULL;

    for (apr_size_t i = 0; i < 2 * AG_LEN(names) && !found; i++)
        found = look(path, names[i / 2], i % 2, p);
    return found;
}

/* One pool with one process, since ours starts as many as are needed. Its own log is the output of the process. */
static const char *write_fpm_config(const char *folder, const char *socket, apr_pool_t *p)
{
    const char *path = apr_pstrcat(p, folder, "/php-fpm.conf", NULL);
    const char *text = apr_pstrcat(p,
                                   "[global]\ndaemonize = no\nerror_log = /proc/self/fd/2\nlog_level = warning\n"
                                   "[application]\nlisten = ", socket,
                                   "\npm = static\npm.max_children = 1\nclear_env = no\ncatch_workers_output = yes\n"
                                   "decorate_workers_output = no\nsecurity.limit_extensions = .php .phtml .phar .PHP\n", NULL);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    apr_size_t len = strlen(text);
    int whole;

    if (fd < 0)
        return NULL;
    whole = write(fd, text, len) == (ssize_t)len;
    return close(fd) == 0 && whole ? path : NULL;
}

const char *const *hp_php_command(const char *program, const char *folder, const char *socket, const char **preason, apr_pool_t *p)
{
    const char *base = strrchr(program, '/') ? strrchr(program, '/') + 1 : program, *config;
    const char **argv = apr_pcalloc(p, 10 * sizeof *argv);
    int n = 0;

    argv[n++] = "/usr/bin/env";
    if (strncmp(base, "php-fpm", 7) != 0) {
        /* How many requests a process serves, and how many processes there are, is not PHP's decision: it would simply end. */
        argv[n++] = "PHP_FCGI_MAX_REQUESTS=0";
        argv[n++] = "PHP_FCGI_CHILDREN=0";
        argv[n++] = "/bin/sh";
        argv[n++] = "-c";
        argv[n++] = "exec \"$0\" <&3 3<&-";
        argv[n++] = program;
        return argv;
    }
    config = write_fpm_config(folder, socket, p);
    if (!config) {
        *preason = apr_psprintf(p, "no configuration for php-fpm could be written to %s: %s", folder, ag_text_error(p, errno));
        return NULL;
    }
    argv[n++] = apr_pstrcat(p, "FPM_SOCKETS=", socket, "=3", NULL);
    argv[n++] = program;
    argv[n++] = "--nodaemonize";
    argv[n++] = "--fpm-config";
    argv[n++] = config;
    return argv;
}
