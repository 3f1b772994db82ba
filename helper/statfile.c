#include "helper/statfile.h"
#include "apr-glue/path.h"
#include <apr_strings.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/openat2.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOBODY     65534
#define GROUPS_MAX 64

/* Finds a file by its name below the folder; 0: it is not there for us. */
typedef struct {
    int (*stat)(const void *place, const char *name, struct stat *st);
    const void *place;
} eyes_t;

static uint64_t stamp(const struct stat *st)
{
    return (uint64_t)st->st_mtim.tv_sec * 1000000 + (uint64_t)st->st_mtim.tv_nsec / 1000;
}

/* What differs when a file was written anew, or another took its place. */
static uint64_t version(const eyes_t *eyes, const char *name)
{
    struct stat st;

    if (!*name || !eyes->stat(eyes->place, name, &st))
        return 0;
    return stamp(&st) ^ (uint64_t)st.st_size << 40 ^ (uint64_t)st.st_ino;
}

static void look_around(hp_statfile_t *found, const eyes_t *eyes, const hp_statfile_names_t *names, apr_pool_t *ptemp)
{
    struct stat st;

    if (eyes->stat(eyes->place, apr_pstrcat(ptemp, names->restart_dir, "/restart.txt", NULL), &st))
        found->restart = stamp(&st);
    found->always = eyes->stat(eyes->place, apr_pstrcat(ptemp, names->restart_dir, "/always_restart.txt", NULL), &st);
    found->startup = version(eyes, names->startup_file);
    found->env = version(eyes, names->env_file);
}

/* -- the owner's eyes: the kernel knows what that user may see -- */

/* The links in /proc would lead past folders that the owner may not enter, to whatever else this process looks at. */
static int below_folder(const void *place, const char *name, struct stat *st)
{
    int at = *(const int *)place, flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
    struct open_how how = {.flags = (uint64_t)flags, .resolve = RESOLVE_NO_MAGICLINKS};
    int fd = (int)syscall(SYS_openat2, at, name, &how, sizeof how), there;

    /* Older kernels, and containers that forbid what they do not know, have only the other call. */
    if (fd < 0 && (errno == ENOSYS || errno == EPERM))
        fd = openat(at, name, flags);
    if (fd < 0)
        return 0;
    there = fstat(fd, st) == 0;
    close(fd);
    return there;
}

/* The C library's setgroups would change all threads. */
static int set_groups(int n, const gid_t *groups)
{
#ifdef SYS_setgroups32
    return syscall(SYS_setgroups32, n, groups) == 0;
#else
    return syscall(SYS_setgroups, n, groups) == 0;
#endif
}

/* A file system uid other than 0 also takes away the capabilities that override permissions (capabilities(7)). */
static int act_as(uid_t uid)
{
    struct passwd entry, *pw = NULL;
    gid_t groups[GROUPS_MAX] = {NOBODY}, gid = NOBODY;
    char text[8192];
    int n = 1;

    if (getpwuid_r(uid, &entry, text, sizeof text, &pw) == 0 && pw) {
        gid = pw->pw_gid;
        n = GROUPS_MAX;
        if (getgrouplist(pw->pw_name, gid, groups, &n) < 0)
            n = GROUPS_MAX;
    }
    if (!set_groups(n, groups))
        return 0;
    (void)setfsgid(gid);
    (void)setfsuid(uid);
    return (gid_t)setfsgid((gid_t)-1) == gid && (uid_t)setfsuid((uid_t)-1) == uid;
}

static void act_as_root(void)
{
    (void)setfsuid(0);
    (void)setfsgid(0);
    if (setfsuid((uid_t)-1) != 0 || !set_groups(0, NULL))
        abort();
}

/* -- root's eyes: every step is looked at -- */

static int no_strangers_link(const void *place, const char *name, struct stat *st)
{
    const char *folder = place;
    apr_pool_t *ptemp;
    ag_path_t way;
    int there;

    apr_pool_create(&ptemp, NULL);
    there = ag_path_walk(&way, name[0] == '/' ? name : apr_pstrcat(ptemp, folder, "/", name, NULL), AG_PATH_CLIMB, ptemp) == APR_SUCCESS &&
            !ag_path_foreign(&way, 0, 1);
    if (there)
        *st = way.st;
    apr_pool_destroy(ptemp);
    return there;
}

void hp_statfile_look(hp_statfile_t *found, const hp_statfile_names_t *names, apr_pool_t *ptemp)
{
    int folder = open(names->app_root, O_PATH | O_DIRECTORY | O_CLOEXEC), root = geteuid() == 0;
    eyes_t eyes = {.stat = below_folder, .place = &folder};
    struct stat st;

    memset(found, 0, sizeof *found);
    found->owner = (uint32_t)-1;
    if (folder >= 0 && fstat(folder, &st) == 0) {
        found->owner = st.st_uid;
        if (root && st.st_uid == 0)
            eyes = (eyes_t){.stat = no_strangers_link, .place = names->app_root};
        if (!root || st.st_uid == 0 || act_as(st.st_uid))
            look_around(found, &eyes, names, ptemp);
        if (root)
            act_as_root();
    }
    if (folder >= 0)
        close(folder);
}
