#include "helper/cgroup.c"
#include "t/lib/tap.h"
#include <apr_general.h>
#include <sys/stat.h>

static char folder[] = "/tmp/psg-cgroup-XXXXXX";

static void put(const char *file, const char *text)
{
    char path[PATH_MAX];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", folder, file);
    f = fopen(path, "w");
    fputs(text, f);
    fclose(f);
}

static void numbers(apr_pool_t *p)
{
    put("memory.current", "104857600\n");
    put("memory.max", "max\n");
    put("memory.stat", "anon 31457280\nfile 73400320\nkernel_stack 16384\nshmem 4194304\nfile_mapped 99\n");
    put("pids.events", "max 3\n");
    put("cgroup.controllers", "cpuset cpu io memory hugetlb pids\n");
    is_int((int)hp_cgroup_number(folder, "memory.current", NULL), 104857600, "a number");
    is_int((int)hp_cgroup_number(folder, "memory.max", NULL), 0, "no bound");
    is_int((int)hp_cgroup_number(folder, "memory.stat", "file"), 73400320, "one of many");
    is_int((int)hp_cgroup_number(folder, "memory.stat", "kernel"), 0, "... by its whole name");
    is_int((int)hp_cgroup_number(folder, "pids.current", NULL), 0, "what is not there");
    is_int((int)hp_cgroup_memory(folder), 104857600 - 73400320 + 4194304, "files are not needed, but those in memory alone are");
    put("memory.swap.current", "1000\n");
    is_int((int)hp_cgroup_memory(folder), 104857600 - 73400320 + 4194304 + 1000, "... nor is what was swapped out spared");
    is_int((int)hp_cgroup_controllers(folder, "cgroup.controllers"), HP_CGROUP_MEMORY | HP_CGROUP_PIDS | HP_CGROUP_CPU, "controllers");
    put("cgroup.controllers", "cpuset pids");
    is_int((int)hp_cgroup_controllers(folder, "cgroup.controllers"), HP_CGROUP_PIDS, "... whose names are whole");
    is_str(hp_cgroup_names(HP_CGROUP_MEMORY | HP_CGROUP_CPU, "+", p), "+memory +cpu", "... as they are turned on");
    is_str(hp_cgroup_names(0, "+", p), "", "... none");
}

static void deaths(void)
{
    static const struct {
        const char *events;
        hp_cgroup_death_t death;
    } cases[] = {
        {"low 0\nhigh 0\nmax 12\noom 0\noom_kill 0\noom_group_kill 0\n", HP_CGROUP_ALIVE},
        {"low 0\nhigh 0\nmax 12\noom 1\noom_kill 2\noom_group_kill 1\n", HP_CGROUP_OWN_LIMIT},
        {"low 0\nhigh 0\nmax 0\noom 0\noom_kill 1\n", HP_CGROUP_NO_MEMORY},
        {"", HP_CGROUP_ALIVE},
    };

    for (apr_size_t i = 0; i < AG_LEN(cases); i++) {
        put("memory.events", cases[i].events);
        is_int(hp_cgroup_death(folder), cases[i].death, "case %d", (int)i);
    }
}

static void sum(void *baton, pid_t pid)
{
    *(int *)baton += (int)pid;
}

static void members(void)
{
    char below[PATH_MAX];
    int all = 0, fd;

    put("cgroup.procs", "12\n0\n300\n");
    is_int(hp_cgroup_each(folder, sum, &all), 3, "three are in it");
    is_int(all, 312, "... one of them cannot be seen");
    put("cgroup.events", "populated 1\nfrozen 0\n");
    ok(hp_cgroup_populated(folder), "somebody is there");
    put("cgroup.events", "populated 0\nfrozen 0\n");
    ok(!hp_cgroup_populated(folder), "nobody is");
    put("pids.max", "");
    is_int(hp_cgroup_write_number(folder, "pids.max", 20), APR_SUCCESS, "a limit is written");
    is_int((int)hp_cgroup_number(folder, "pids.max", NULL), 20, "... and there");
    ok(APR_STATUS_IS_ENOENT(hp_cgroup_write(folder, "cpu.weight", "50")), "there is no such file");
    put("cgroup.procs", "");
    fd = hp_cgroup_door(folder);
    ok(fd >= 0 && write(fd, "0", 1) == 1, "a way in");
    close(fd);
    put("cgroup.kill", "");
    hp_cgroup_kill(folder);
    is_int((int)hp_cgroup_number(folder, "cgroup.kill", NULL), 1, "all are killed");
    snprintf(below, sizeof below, "%s/a", folder);
    mkdir(below, 0700);
    ok(!hp_cgroup_remove(folder), "what is not empty stays");
    ok(access(below, F_OK) != 0, "... but for what is");
}

int main(void)
{
    char command[PATH_MAX];
    apr_pool_t *p;

    apr_initialize();
    apr_pool_create(&p, NULL);
    ok(mkdtemp(folder) != NULL, "a folder");
    numbers(p);
    deaths();
    members();
    snprintf(command, sizeof command, "rm -r %s", folder);
    ok(system(command) == 0, "removed");
    return done_testing();
}
