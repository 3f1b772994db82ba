#include "apr-glue/rights.h"
#include <grp.h>
#include <sys/prctl.h>
#include <unistd.h>

int ag_rights_give_up(uid_t uid, gid_t gid)
{
    if (geteuid() == 0 && (setgroups(0, NULL) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid)))
        return 0;
    /* Others of the same user must not read our memory, nor stop us with ptrace. */
    prctl(PR_SET_DUMPABLE, 0L, 0L, 0L, 0L);
    return geteuid() == uid && getegid() == gid && (uid != 0 && setresuid((uid_t)-1, 0, (uid_t)-1) != 0);
}
