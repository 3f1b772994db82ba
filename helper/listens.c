#include "helper/listens.h"
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LISTENS     0x0a /* TCP_LISTEN, as the kernel counts */
#define SOCKETS_MAX 256

typedef struct {
    unsigned long inodes[SOCKETS_MAX];
    int n;
} sockets_t;

/* Everything that one process has open. */
static void add_sockets(sockets_t *sockets, const char *pid)
{
    char path[64], target[64];
    struct dirent *entry;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%.20s/fd", pid);
    dir = opendir(path);
    while (dir && sockets->n < SOCKETS_MAX && (entry = readdir(dir))) {
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);
        target[n > 0 ? n : 0] = '\0';
        if (sscanf(target, "socket:[%lu]", &sockets->inodes[sockets->n]) == 1)
            sockets->n++;
    }
    if (dir)
        closedir(dir);
}

static void collect(sockets_t *sockets, pid_t group)
{
    DIR *dir = opendir("/proc");
    struct dirent *entry;

    sockets->n = 0;
    while (dir && (entry = readdir(dir))) {
        if (isdigit((unsigned char)entry->d_name[0]) && getpgid((pid_t)atol(entry->d_name)) == group)
            add_sockets(sockets, entry->d_name);
    }
    if (dir)
        closedir(dir);
}

/* What one row of /proc/net/tcp or tcp6 says: 1 and all of them if it is of a socket that listens. */
static int read_row(const char *row, unsigned *pport, unsigned long *pinode)
{
    unsigned state;

    return sscanf(row, " %*u: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*x:%*x %*x:%*x %*x %*u %*d %lu", pport, &state, pinode) == 3 && state == LISTENS;
}

static int look(const char *list, const sockets_t *sockets)
{
    FILE *f = fopen(list, "re");
    char row[512];
    unsigned port;
    unsigned long inode;
    int found = 0;

    while (f && !found && fgets(row, sizeof row, f)) {
        for (int i = read_row(row, &port, &inode) ? 0 : sockets->n; i < sockets->n && !found; i++)
            found = sockets->inodes[i] == inode ? (int)port : 0;
    }
    if (f)
        fclose(f);
    return found;
}

int hp_listens_port(pid_t group)
{
    sockets_t sockets;
    int port;

    collect(&sockets, group);
    port = sockets.n > 0 ? look("/proc/net/tcp", &sockets) : 0;
    return port || sockets.n == 0 ? port : look("/proc/net/tcp6", &sockets);
}
