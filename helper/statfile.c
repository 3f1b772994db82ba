#include "helper/statfile.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t stamp(const struct stat *st)
{
    return (uint64_t)st->st_mtim.tv_sec * 1000000 + (uint64_t)st->st_mtim.tv_nsec / 1000;
}

static int look_at(int dir, const char *name, struct stat *st)
{
    return fstatat(dir, name, st, AT_SYMLINK_NOFOLLOW) == 0;
}

void hp_statfile_look(hp_statfile_t *found, const char *app_root, const char *restart_dir, const char *startup_file)
{
    int root = open(app_root, O_PATH | O_DIRECTORY | O_CLOEXEC), dir;
    struct stat st;

    memset(found, 0, sizeof *found);
    if (root < 0)
        return;
    dir = openat(root, restart_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0) {
        if (look_at(dir, "restart.txt", &st))
            found->restart = stamp(&st);
        found->always = look_at(dir, "always_restart.txt", &st);
        close(dir);
    }
    if (look_at(root, startup_file, &st))
        found->startup = stamp(&st) ^ (uint64_t)st.st_size << 40 ^ (uint64_t)st.st_ino;
    close(root);
}
