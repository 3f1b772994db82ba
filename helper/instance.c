#include "helper/instance.h"
#include "apr-glue/log.h"
#include "apr-glue/procfile.h"
#include "apr-glue/text.h"
#include <apr_strings.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PREFIX     "instance-"
#define PROPERTIES "properties.json"
#define DEPTH      8
#define NAME       8 /* characters of the id that people are told */

/* Kinds of notes: "p-<pid>-<start time>" is a process of ours, "q-..." one of a watchdog before us. */
enum { NOTED = 'p', INHERITED = 'q' };

struct hp_instance_t {
    apr_pool_t *p;
    const char *path, *socket, *admin;
    char properties[4096]; /* what properties.json says */
    int dir, lock; /* descriptors; the lock is held for as long as the watchdog lives */
};

/* When a process was started, in clock ticks since boot: with the pid it names one process for ever (proc_pid_stat(5), field 22). */
static unsigned long long start_time(pid_t pid)
{
    unsigned long long started = 0;
    char text[1024], *at;

    (void)ag_procfile_of(text, sizeof text, pid, "stat");
    at = strrchr(text, ')'); /* the name may hold anything */
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    if (at)
        started = strtoull(at, NULL, 10);
    return started;
}

/* Signals the group of every process noted in the directory under `kind`; the number of those processes that are still the ones that were noted.
 * SIGTERM is not for them, which the kernel has sent it already (PR_SET_PDEATHSIG), and a second one ends a loader in the middle of its request,
 * but for what they have left behind: a group's number is not used again as long as anybody is in it. */
static int each_noted(int dir, char kind, int signum)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), count = 0;
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;

    if (!d)
        return 0;
    while ((entry = readdir(d))) {
        unsigned long long noted, now;
        long pid;
        char is;
        if (sscanf(entry->d_name, "%c-%ld-%llu", &is, &pid, &noted) != 3 || is != kind || pid <= 1 || !noted)
            continue;
        now = start_time((pid_t)pid);
        if (now && now != noted)
            continue;
        count += now == noted;
        if (!now || signum != SIGTERM)
            kill((pid_t)-pid, signum);
    }
    closedir(d);
    return count;
}

static void empty_and_remove(int dir, const char *name, int depth);

/* What we put there is plain files and sockets; applications have a folder each, where they may do as they like. */
static void empty(int dir, int depth)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;

    if (!d)
        return;
    while ((entry = readdir(d))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(dir, entry->d_name, 0) && (errno == EISDIR || errno == EPERM))
            empty_and_remove(dir, entry->d_name, depth);
    }
    closedir(d);
}

/* Never through a symbolic link, and no deeper than anybody honest goes. */
static void empty_and_remove(int dir, const char *name, int depth)
{
    int fd = depth < DEPTH ? openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;

    if (fd >= 0) {
        empty(fd, depth + 1);
        close(fd);
    }
    unlinkat(dir, name, AT_REMOVEDIR);
}

/* Where everybody may make folders (a sticky registry), others can make one that looks like an instance's, and note any process in it. */
static int is_ours(int dir, const char *registry_path, const char *name)
{
    struct stat st;

    if (fstat(dir, &st) == 0 && st.st_uid == geteuid())
        return 1;
    ag_log(AG_LOG_WARN, "PSG2100", "instance.foreign: %s/%s belongs to uid %ld and was left alone; remove it", registry_path, name, (long)st.st_uid);
    return 0;
}

/* A directory whose lock is free belongs to an instance that died without cleaning up. */
static void remove_stale(int registry, const char *registry_path)
{
    int fd = openat(registry, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;

    if (!d)
        return;
    while ((entry = readdir(d))) {
        int dir, lock;
        struct stat st;
        if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) != 0)
            continue;
        dir = openat(registry, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (dir >= 0 && !is_ours(dir, registry_path, entry->d_name)) {
            close(dir);
            continue;
        }
        lock = dir >= 0 ? openat(dir, "lock", O_RDWR | O_NOFOLLOW | O_CLOEXEC) : -1;
        /* One without a lock that is younger than a minute is being made. */
        if (dir >= 0 && (lock >= 0 ? flock(lock, LOCK_EX | LOCK_NB) == 0 : fstat(dir, &st) == 0 && time(NULL) - st.st_mtime > 60)) {
            ag_log(AG_LOG_NOTICE, "PSG0001", "instance.stale_removed: %s/%s was left by a helper that is gone", registry_path, entry->d_name);
            each_noted(dir, NOTED, SIGKILL);
            each_noted(dir, INHERITED, SIGKILL);
            empty(dir, 0);
            unlinkat(registry, entry->d_name, AT_REMOVEDIR);
        }
        if (lock >= 0)
            close(lock);
        if (dir >= 0)
            close(dir);
    }
    closedir(d);
}

/* Others must not be able to swap what is in there. */
static const char *unsafe(const struct stat *st)
{
    if (st->st_uid != geteuid() && st->st_uid != 0)
        return "it belongs to another user";
    if ((st->st_mode & 022) && !(st->st_mode & S_ISVTX))
        return "others may write into it";
    return NULL;
}

static apr_status_t open_registry(int *pfd, const char *path, apr_pool_t *p, const char **preason)
{
    struct stat st;
    const char *why;

    if (mkdir(path, geteuid() == 0 ? 0755 : 0700) && errno != EEXIST) {
        *preason = apr_psprintf(p, "cannot make the folder %s: %s; PassengerInstanceRegistryDir names another", path, strerror(errno));
        return errno;
    }
    *pfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*pfd < 0 || fstat(*pfd, &st)) {
        *preason = apr_psprintf(p, "cannot open the folder %s: %s; PassengerInstanceRegistryDir names another", path, strerror(errno));
        return errno;
    }
    why = unsafe(&st);
    if (why) {
        *preason = apr_psprintf(p, "the folder %s is not safe for sockets: %s; make it belong to root, mode 0755", path, why);
        return EPERM;
    }
    return APR_SUCCESS;
}

static mode_t folder_mode(void)
{
    return geteuid() == 0 ? 0711 : 0700;
}

static int is_right(const struct stat *st)
{
    return st->st_uid == geteuid() && (st->st_mode & 07777) == folder_mode();
}

/* Opens the directory and takes the lock in it. */
static apr_status_t occupy(hp_instance_t *instance)
{
    struct stat st;

    instance->dir = open(instance->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (instance->dir < 0 || fstat(instance->dir, &st))
        return errno;
    if (!is_right(&st) && (fchown(instance->dir, geteuid(), (gid_t)-1) || fchmod(instance->dir, folder_mode())))
        return errno;
    instance->lock = openat(instance->dir, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (instance->lock < 0 || flock(instance->lock, LOCK_EX | LOCK_NB))
        return errno;
    return APR_SUCCESS;
}

apr_status_t hp_instance_create(hp_instance_t **pinstance, const char *registry, const char *path, apr_pool_t *p, const char **preason)
{
    hp_instance_t *instance = apr_pcalloc(p, sizeof *instance);
    int fd = -1;
    apr_status_t rv = open_registry(&fd, registry, p, preason);

    if (rv != APR_SUCCESS)
        return rv;
    instance->p = p;
    instance->dir = instance->lock = -1;
    instance->path = path ? path : apr_pstrcat(p, registry, "/" PREFIX, ag_text_random(p, 16), NULL);
    instance->socket = apr_pstrcat(p, instance->path, "/core.sock", NULL);
    instance->admin = apr_pstrcat(p, instance->path, "/admin", NULL);
    if (!path)
        remove_stale(fd, registry);
    close(fd);
    if (mkdir(instance->path, folder_mode()) && !(path && errno == EEXIST))
        rv = errno;
    if (rv == APR_SUCCESS)
        rv = occupy(instance);
    if (rv != APR_SUCCESS) {
        *preason = apr_psprintf(p, "cannot make the instance folder %s: %s", instance->path, strerror(rv));
        return rv;
    }
    *pinstance = instance;
    return APR_SUCCESS;
}

const char *hp_instance_path(const hp_instance_t *instance)
{
    return instance->path;
}

const char *hp_instance_socket(const hp_instance_t *instance)
{
    return instance->socket;
}

const char *hp_instance_admin(const hp_instance_t *instance)
{
    return instance->admin;
}

int hp_instance_intact(const hp_instance_t *instance)
{
    struct stat now, held, lock;

    return lstat(instance->path, &now) == 0 && fstat(instance->dir, &held) == 0 && now.st_ino == held.st_ino && now.st_dev == held.st_dev &&
           is_right(&held) && fstatat(instance->dir, "lock", &lock, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Whole or not at all, for readers that come at any time. */
static apr_status_t write_properties(const hp_instance_t *instance)
{
    apr_size_t len = strlen(instance->properties);
    int fd = openat(instance->dir, PROPERTIES ".new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    apr_status_t rv = APR_SUCCESS;

    if (fd < 0)
        return errno;
    if (write(fd, instance->properties, len) != (ssize_t)len)
        rv = ENOSPC;
    close(fd);
    if (rv == APR_SUCCESS && renameat(instance->dir, PROPERTIES ".new", instance->dir, PROPERTIES))
        rv = errno;
    return rv;
}

/* Apache's description of itself may hold anything that a module adds to it. */
static const char *plain(char *to, apr_size_t size, const char *from)
{
    apr_size_t n = 0;

    for (; from && *from && n + 1 < size; from++) {
        if (*from >= ' ' && *from < 127 && *from != '"' && *from != '\\')
            to[n++] = *from;
    }
    to[n] = '\0';
    return to;
}

apr_status_t hp_instance_describe(hp_instance_t *instance, const ag_settings_t *settings, pid_t core)
{
    const char *id = strrchr(instance->path, '-') + 1;
    char software[1024];
    struct stat st;

    /* Nothing was ever written into the lock, so its time is that of the instance's birth, whoever watches it now. */
    if (fstat(instance->lock, &st))
        return errno;
    snprintf(instance->properties, sizeof instance->properties,
             "{\"instance_dir\":{\"major_version\":4,\"minor_version\":0,\"created_at\":%lld},\"passenger_version\":\"%s\",\"watchdog_pid\":%ld,"
             "\"core_pid\":%ld,\"instance_id\":\"%s\",\"name\":\"%.*s\",\"integration_mode\":\"apache\",\"server_software\":\"%s\"}\n",
             (long long)st.st_mtime, AG_VERSION, (long)getpid(), (long)core, id, NAME, id,
             plain(software, sizeof software, settings->server_software));
    return write_properties(instance);
}

apr_status_t hp_instance_redescribe(const hp_instance_t *instance)
{
    struct stat st;

    if (!instance->properties[0] || fstatat(instance->dir, PROPERTIES, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return APR_SUCCESS;
    return write_properties(instance);
}

apr_status_t hp_instance_remake(hp_instance_t *instance)
{
    const char *slash = strrchr(instance->path, '/');

    close(instance->lock);
    close(instance->dir);
    instance->dir = instance->lock = -1;
    /* Whoever removed the directory may have removed the registry too. */
    mkdir(apr_pstrmemdup(instance->p, instance->path, (apr_size_t)(slash - instance->path)), geteuid() == 0 ? 0755 : 0700);
    if (mkdir(instance->path, folder_mode()) && errno != EEXIST)
        return errno;
    return occupy(instance);
}

unsigned long long hp_instance_note(hp_instance_t *instance, pid_t pid)
{
    unsigned long long started = start_time(pid);
    char name[64];
    int fd;

    snprintf(name, sizeof name, "p-%ld-%llu", (long)pid, started);
    fd = openat(instance->dir, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    return started;
}

void hp_instance_forget(hp_instance_t *instance, pid_t pid, unsigned long long started)
{
    char name[64];

    snprintf(name, sizeof name, "p-%ld-%llu", (long)pid, started);
    unlinkat(instance->dir, name, 0);
}

int hp_instance_inherit(hp_instance_t *instance)
{
    int fd = openat(instance->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;

    while (d && (entry = readdir(d))) {
        char name[sizeof entry->d_name];
        if (entry->d_name[0] != NOTED || entry->d_name[1] != '-')
            continue;
        memcpy(name, entry->d_name, sizeof name);
        name[0] = INHERITED;
        renameat(instance->dir, entry->d_name, instance->dir, name);
    }
    if (d)
        closedir(d);
    return each_noted(instance->dir, INHERITED, SIGTERM);
}

void hp_instance_end_inherited(hp_instance_t *instance)
{
    each_noted(instance->dir, INHERITED, SIGKILL);
}

void hp_instance_drop(hp_instance_t *instance, const char *name)
{
    empty_and_remove(instance->dir, name, 0);
}

void hp_instance_remove(hp_instance_t *instance)
{
    if (instance->dir >= 0)
        empty(instance->dir, 0);
    rmdir(instance->path);
}
