/* A control group of version 2, as a folder of small files that are read and written as a whole (the kernel's admin-guide/cgroup-v2). What is
 * not there, because the kernel is older or a controller is off, reads as 0. */
#ifndef HP_CGROUP_H
#define HP_CGROUP_H

#include "apr-glue/base.h"
#include <apr_pools.h>

/* The controllers that limits need; bits. */
enum { HP_CGROUP_MEMORY = 1, HP_CGROUP_PIDS = 2, HP_CGROUP_CPU = 4 };

/* Writes one value. */
apr_status_t hp_cgroup_write(const char *group, const char *file, const char *value);
apr_status_t hp_cgroup_write_number(const char *group, const char *file, apr_uint64_t value);

/* The number in a file, or the one behind `key` at the beginning of a line; "max" is 0. */
apr_uint64_t hp_cgroup_number(const char *group, const char *file, const char *key);

/* The controllers that a file names: cgroup.controllers, cgroup.subtree_control. */
unsigned hp_cgroup_controllers(const char *group, const char *file);
/* Their names, for people and, with `mark` in front of each, for cgroup.subtree_control. */
const char *hp_cgroup_names(unsigned controllers, const char *mark, apr_pool_t *p);

/* Bytes that its processes need: without files that can be read again, with what was swapped out. */
apr_uint64_t hp_cgroup_memory(const char *group);

/* Why the kernel has killed for memory in it: nothing was, memory.max was reached, or somebody else's memory ran out. */
typedef enum { HP_CGROUP_ALIVE, HP_CGROUP_OWN_LIMIT, HP_CGROUP_NO_MEMORY } hp_cgroup_death_t;
hp_cgroup_death_t hp_cgroup_death(const char *group);

/* Its cgroup.procs, for whoever goes in there (child.h); -1 with errno. */
int hp_cgroup_door(const char *group);
/* Who is in it itself, not below: calls back for each pid; 0 stands for one that cannot be seen from here. The number of them. */
int hp_cgroup_each(const char *group, void (*visit)(void *baton, pid_t pid), void *baton);
/* 1 if there is anybody in it, or below. */
int hp_cgroup_populated(const char *group);
/* Kills all who are in it and below. */
void hp_cgroup_kill(const char *group);
/* Removes it and all below, as far as they are empty. 1: it is gone. */
int hp_cgroup_remove(const char *group);

#endif
