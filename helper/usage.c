#include "helper/usage.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static apr_status_t read_file(char *text, size_t size, pid_t pid, const char *name)
{
    char path[40];
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "/proc/%ld/%s", (long)pid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    n = read(fd, text, size - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return APR_SUCCESS;
}

apr_status_t hp_usage_read(hp_usage_t *usage, pid_t pid)
{
    unsigned long user, system;
    unsigned long long ran, waited;
    long pages;
    char text[1024], *after;
    apr_status_t rv = read_file(text, sizeof text, pid, "stat");

    if (rv != APR_SUCCESS)
        return rv;
    after = strrchr(text, ')'); /* the program's name may hold anything */
    if (!after || sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %*u %*u %ld", &user, &system,
                         &pages) != 3)
        return EINVAL;
    usage->rss = (apr_uint64_t)pages * (apr_uint64_t)sysconf(_SC_PAGESIZE);
    usage->cpu = (apr_interval_time_t)(user + system) * APR_USEC_PER_SEC / sysconf(_SC_CLK_TCK);
    usage->wanted = 0;
    if (read_file(text, sizeof text, pid, "schedstat") == APR_SUCCESS && sscanf(text, "%llu %llu", &ran, &waited) == 2)
        usage->wanted = (apr_interval_time_t)((ran + waited) / 1000);
    return APR_SUCCESS;
}
