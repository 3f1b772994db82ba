#include "helper/rights.h"
#include "apr-glue/child.h"
#include "apr-glue/log.h"
#include <apr_strings.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define CORE_USER "passenger"

void hp_rights_harden(int first, int fresh)
{
    struct rlimit nofile;
    int fd;

    setsid();
    ag_child_reset_signals();
    ag_child_ignore_signals();
    if (fresh)
        ag_child_close_from(first);
    umask(022);
    if (chdir("/"))
        ag_log(AG_LOG_WARN, "PSG0021", "chdir(/): %s", strerror(errno));
    /* Applications' descendants come to us when their parents die, so that none is lost (prctl(2)). */
    prctl(PR_SET_CHILD_SUBREAPER, 1L, 0L, 0L, 0L);
    /* The core inherits it: a descriptor for every link and every connection to an application. */
    if (getrlimit(RLIMIT_NOFILE, &nofile) == 0) {
        nofile.rlim_cur = nofile.rlim_max;
        setrlimit(RLIMIT_NOFILE, &nofile);
    }
    if (geteuid() == 0 && (fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC)) >= 0) {
        (void)!write(fd, "-900", 4);
        close(fd);
    }
}

void hp_rights_files(uint32_t files)
{
    struct rlimit nofile;

    if (files == 0 || getrlimit(RLIMIT_NOFILE, &nofile))
        return;
    nofile.rlim_cur = files;
    if (nofile.rlim_cur > nofile.rlim_max)
        nofile.rlim_max = files;
    if (setrlimit(RLIMIT_NOFILE, &nofile))
        ag_log(AG_LOG_WARN, "PSG2301", "helper.files: PassengerCoreFileDescriptorUlimit %lu has no effect: %s. Raise the limit that Apache is "
               "started with (LimitNOFILE= in apache2.service, or ulimit -n).", (unsigned long)files, strerror(errno));
}

static void check_file(const char *path)
{
    struct stat st;

    if (lstat(path, &st) == 0 && (st.st_uid != 0 || (!S_ISLNK(st.st_mode) && st.st_mode & 022)))
        ag_log(AG_LOG_WARN, "PSG2102", "install.unsafe: others than root can change %s (it belongs to uid %ld, mode %lo), and so what root and every "
               "application's user runs: chown root:root, chmod go-w", path, (long)st.st_uid, (unsigned long)st.st_mode & 07777);
}

void hp_rights_check_files(const char *program, apr_pool_t *ptemp)
{
    const char *folder = apr_pstrmemdup(ptemp, program, (apr_size_t)(strrchr(program, '/') - program));
    const char *loaders = apr_pstrcat(ptemp, folder, "/loaders", NULL);
    DIR *d = geteuid() == 0 ? opendir(loaders) : NULL;
    struct dirent *entry;

    if (geteuid() != 0)
        return;
    check_file(program);
    check_file(folder);
    check_file(loaders);
    while (d && (entry = readdir(d))) {
        if (entry->d_name[0] != '.')
            check_file(apr_pstrcat(ptemp, loaders, "/", entry->d_name, NULL));
    }
    if (d)
        closedir(d);
}

void hp_rights_core_user(const char *web_user, uid_t *puid, gid_t *pgid)
{
    struct passwd *pw;

    *puid = geteuid();
    *pgid = getegid();
    if (*puid != 0)
        return;
    pw = getpwnam(CORE_USER);
    if (!pw && web_user)
        pw = getpwnam(web_user);
    if (!pw || pw->pw_uid == 0)
        pw = getpwnam("nobody");
    *puid = pw && pw->pw_uid ? pw->pw_uid : 65534;
    *pgid = pw && pw->pw_gid ? pw->pw_gid : 65534;
}
