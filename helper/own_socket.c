#include "helper/own_socket.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The instance directory is known once Apache knows it, until then only the folder that it is in; both are root's. */
static int is_of(const char *path, const ag_settings_t *settings, uint64_t id)
{
    static const char instance[] = "/instance-";
    const char *base = settings->instance_dir ? settings->instance_dir : settings->registry_dir;
    apr_size_t len = strlen(base);
    char own[64];

    if (strncmp(path, base, len) != 0)
        return 0;
    path += len;
    if (!settings->instance_dir) {
        if (strncmp(path, instance, sizeof instance - 1) != 0)
            return 0;
        path += sizeof instance - 1;
        path += strcspn(path, "/");
    }
    snprintf(own, sizeof own, "/own-%" APR_UINT64_T_FMT "/socket", (apr_uint64_t)id);
    return strcmp(path, own) == 0;
}

int hp_own_socket_open(const char *path, const ag_settings_t *settings, uint64_t id, uid_t uid)
{
    int fd = is_of(path, settings, id) ? open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC) : -1;
    struct stat st;

    if (fd >= 0 && (fstat(fd, &st) || !S_ISSOCK(st.st_mode) || (st.st_uid != uid && uid != (uid_t)-1))) {
        close(fd);
        fd = -1;
    }
    return fd;
}
