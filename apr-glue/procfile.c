#include "apr-glue/procfile.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

ssize_t ag_procfile_read(char *text, apr_size_t size, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), why;
    ssize_t n = -1;

    if (fd >= 0) {
        n = read(fd, text, size - 1);
        why = errno;
        close(fd);
        errno = why;
    }
    text[n > 0 ? n : 0] = '\0';
    return n;
}

ssize_t ag_procfile_of(char *text, apr_size_t size, pid_t pid, const char *name)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%ld/%.32s", (long)pid, name);
    return ag_procfile_read(text, size, path);
}
