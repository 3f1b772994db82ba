#include "helper/delegation.c"
#include "t/lib/tap.h"
#include <apr_general.h>

#define HYBRID  "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n32 31 0:29 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu\n"
#define TOP     "/t/cgroup"
#define UNIFIED "30 23 0:26 %s " TOP " rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n36 1 0:3 / /x rw - tmpfs tmpfs rw\n"

static int says_yes(const char *folder)
{
    return strcmp(folder, TOP "/system.slice/yes.service") == 0;
}

static void decisions(apr_pool_t *p)
{
    static const struct {
        const char *cgroup, *root;
        int systemd;
        const char *base, *reason; /* below the mount point; in words of which one is NULL */
    } cases[] = {
        {"0::/", "/", 0, "", NULL},
        {"12:pids:/x\n0::/", "/", 0, "", NULL},
        {"0::/", "/", 1, NULL, "is systemd's; \"Delegate=yes\" in the unit of Apache delegates it"},
        {"0::/passenger-main", "/", 0, "", NULL},
        {"0::/jobs/web", "/", 0, "/jobs/web", NULL},
        {"0::/jobs/web/passenger-main", "/", 0, "/jobs/web", NULL},
        {"0::/system.slice/no.service", "/", 1, NULL, "no.service is systemd's; \"Delegate=yes\" in the unit no.service delegates it"},
        {"0::/system.slice/no.service", "/", 0, NULL, "no.service is systemd's"},
        {"0::/system.slice/yes.service", "/", 1, "/system.slice/yes.service", NULL},
        {"0::/system.slice/yes.service/passenger-main", "/", 1, "/system.slice/yes.service", NULL},
        {"0::/system.slice/yes.service/sub", "/", 1, "/system.slice/yes.service", NULL},
        {"0::/user.slice/user@1.service/app.slice/x.scope", "/", 1, NULL, "x.scope is systemd's"},
        {"0::/docker/1234", "/docker/1234", 0, "", NULL},
        {"0::/docker/5678", "/docker/1234", 0, NULL, "is not below"},
        {"0::/../5678", "/", 0, NULL, "is not below"},
        {"1:name=systemd:/", "/", 0, NULL, "no file system of type cgroup2"},
    };

    for (apr_size_t i = 0; i < AG_LEN(cases); i++) {
        const char *mounts = apr_psprintf(p, HYBRID UNIFIED, cases[i].root);
        hp_delegation_facts_t facts = {.cgroup = apr_pstrcat(p, cases[i].cgroup, "\n", NULL), .mountinfo = mounts, .systemd = cases[i].systemd,
                                       .delegated = says_yes};
        const char *reason = "", *base = hp_delegation_find(&facts, &reason, p);
        if (cases[i].base)
            is_str(base, apr_pstrcat(p, TOP, cases[i].base, NULL), "ours in %s", cases[i].cgroup);
        else
            ok(!base && strstr(reason, cases[i].reason) != NULL, "none in %s: %s", cases[i].cgroup, reason);
    }
}

static void nothing(apr_pool_t *p)
{
    hp_delegation_facts_t facts = {.cgroup = "0::/\n", .mountinfo = HYBRID};
    const char *reason = "";

    ok(!hp_delegation_find(&facts, &reason, p), "a system of version 1: %s", reason);
    is_int((int)hp_delegation_enable("/nowhere", HP_CGROUP_MEMORY, &reason, p), 0, "a folder without controllers");
    ok(strstr(reason, "offers none of memory") != NULL, "... which is said: %s", reason);
    hp_delegation_look(&facts, p);
    ok(*facts.cgroup && *facts.mountinfo, "this system is asked");
}

int main(void)
{
    apr_pool_t *p;

    apr_initialize();
    apr_pool_create(&p, NULL);
    decisions(p);
    nothing(p);
    return done_testing();
}
