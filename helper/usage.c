#include "helper/usage.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

apr_status_t hp_usage_read(hp_usage_t *usage, pid_t pid)
{
    unsigned long user, system;
    long pages;
    char path[32], text[1024], *after;
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    after = strrchr(text, ')'); /* the program's name may hold anything */
    if (!after || sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %*u %*u %ld", &user, &system,
                         &pages) != 3)
        return EINVAL;
    usage->rss = (apr_uint64_t)pages * (apr_uint64_t)sysconf(_SC_PAGESIZE);
    usage->cpu = (apr_interval_time_t)(user + system) * APR_USEC_PER_SEC / sysconf(_SC_CLK_TCK);
    return APR_SUCCESS;
}
