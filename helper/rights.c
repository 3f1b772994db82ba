#include "helper/rights.h"
#include "apr-glue/child.h"
#include "apr-glue/log.h"
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
