#include "helper/upgrade.h"
#include "apr-glue/child.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define NO_FD 0xffffffffu

static int look(const char *path, uint64_t *pinode, uint64_t *pchanged)
{
    struct stat st;

    if (stat(path, &st) || !S_ISREG(st.st_mode) || access(path, X_OK))
        return 0;
    *pinode = (uint64_t)st.st_ino;
    *pchanged = (uint64_t)st.st_ctim.tv_sec * 1000000000 + (uint64_t)st.st_ctim.tv_nsec;
    return 1;
}

void hp_upgrade_note(hp_upgrade_file_t *file, const char *path)
{
    file->path = path;
    file->inode = file->changed = 0;
    (void)look(path, &file->inode, &file->changed);
}

int hp_upgrade_due(const hp_upgrade_file_t *file)
{
    uint64_t inode, changed;

    return look(file->path, &inode, &changed) && (inode != file->inode || changed != file->changed);
}

void hp_upgrade_put_fd(ag_frame_t *state, int fd)
{
    ag_frame_put_u32(state, fd >= 0 ? (uint32_t)fd : NO_FD);
    if (fd >= 0)
        fcntl(fd, F_SETFD, 0);
}

int hp_upgrade_get_fd(ag_frame_reader_t *in)
{
    uint32_t fd = ag_frame_get_u32(in);

    if (in->bad || fd == NO_FD)
        return -1;
    fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    return (int)fd;
}

apr_status_t hp_upgrade_exec(const char *path, const ag_frame_t *state)
{
    char number[16];
    const char *argv[] = {path, "watchdog", number, NULL};
    apr_size_t len;
    const char *data = ag_frame_data(state, &len);
    int fd = memfd_create("state", 0);
    apr_status_t rv = APR_SUCCESS;

    if (fd < 0)
        return errno;
    for (apr_size_t done = 0; done < len && rv == APR_SUCCESS;) {
        ssize_t n = write(fd, data + done, len - done);
        if (n > 0)
            done += (apr_size_t)n;
        else
            rv = errno;
    }
    snprintf(number, sizeof number, "%d", fd);
    if (rv == APR_SUCCESS && lseek(fd, 0, SEEK_SET) == 0)
        rv = ag_child_exec(path, argv, NULL);
    close(fd);
    return rv;
}

apr_status_t hp_upgrade_open(ag_frame_reader_t *in, const char *text, apr_pool_t *p)
{
    int fd = atoi(text);
    struct stat st;
    char *data;
    apr_size_t done = 0;

    if (fd <= 3 || fstat(fd, &st) || st.st_size > AG_FRAME_MAX)
        return EINVAL;
    data = apr_palloc(p, (apr_size_t)st.st_size + 1);
    while (done < (apr_size_t)st.st_size) {
        ssize_t n = read(fd, data + done, (apr_size_t)st.st_size - done);
        if (n <= 0)
            return EINVAL;
        done += (apr_size_t)n;
    }
    close(fd);
    ag_frame_open(in, p, data, done);
    return APR_SUCCESS;
}
