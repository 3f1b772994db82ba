/* Descriptors, random bytes and whatever else would be the kernel's: the linker sends the calls here (--wrap). */
#include "helper/usage.h"
#include "t/sim/sim.h"
#include <apr_hash.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define FIRST (1 << 24) /* far beyond real ones; a number is never used twice in an episode */

typedef struct {
    sim_process_t *owner;
    int which, open;
} file_t;

static file_t *files;
static int nfiles, files_size, nopen;

int sim_files_open(sim_process_t *owner, int which)
{
    if (nfiles == files_size) {
        files_size = files_size * 2 + 64;
        files = realloc(files, (size_t)files_size * sizeof *files);
        if (!files)
            abort();
    }
    files[nfiles] = (file_t){owner, which, 1};
    nopen++;
    return FIRST + nfiles++;
}

static file_t *find(int fd)
{
    return fd >= FIRST && fd - FIRST < nfiles && files[fd - FIRST].open ? &files[fd - FIRST] : NULL;
}

int sim_files_is_open(int fd)
{
    return find(fd) != NULL;
}

void sim_files_drop(void)
{
    nfiles = nopen = 0;
}

int sim_files_count(void)
{
    return nopen;
}

ssize_t __real_read(int fd, void *buf, size_t size);
ssize_t __wrap_read(int fd, void *buf, size_t size);
ssize_t __wrap_read(int fd, void *buf, size_t size)
{
    file_t *file = find(fd);
    sim_process_t *process = file ? file->owner : NULL;

    if (fd >= 0 && fd < FIRST)
        return __real_read(fd, buf, size);
    MUST(file && (file->which == 1 || file->which == 3), "a read from descriptor %d, which is not open", fd);
    if (file && file->which == 3 && process->life != SIM_DEAD) {
        errno = EAGAIN;
        return -1;
    }
    if (file && (file->which == 3 || process->pipe_len == 0) && sim_watchdog_silent(process))
        return 0; /* errno stays */
    if (process->pipe_len == 0) {
        errno = EAGAIN;
        return -1;
    }
    if (size > process->pipe_len)
        size = process->pipe_len;
    if (size > 1 && sim_percent(20))
        size = 1 + (size_t)sim_below((int)size - 1);
    memcpy(buf, process->pipe, size);
    process->pipe_len -= size;
    memmove(process->pipe, process->pipe + size, process->pipe_len);
    return (ssize_t)size;
}

ssize_t __real_write(int fd, const void *buf, size_t size);
ssize_t __wrap_write(int fd, const void *buf, size_t size);
ssize_t __wrap_write(int fd, const void *buf, size_t size)
{
    const file_t *file = find(fd);

    if (fd >= 0 && fd < FIRST)
        return __real_write(fd, buf, size);
    MUST(file && file->which == 0, "a write to descriptor %d, which is not open", fd);
    MUST(size > 30 && memcmp(buf, "You have control 1.0\n", 21) == 0, "the parameters do not begin as they must");
    return (ssize_t)size;
}

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
    file_t *file = find(fd);

    if (fd >= 0 && fd < FIRST)
        return __real_close(fd);
    MUST(file, "descriptor %d is closed twice", fd);
    file->open = 0;
    nopen--;
    return 0;
}

ssize_t __wrap_getrandom(void *buf, size_t size, unsigned flags);
ssize_t __wrap_getrandom(void *buf, size_t size, unsigned flags)
{
    unsigned char *at = buf;

    (void)flags;
    for (size_t i = 0; i < size; i++)
        at[i] = (unsigned char)sim_random();
    return (ssize_t)size;
}

int __wrap_stat(const char *path, struct stat *st);
int __wrap_stat(const char *path, struct stat *st)
{
    (void)path;
    memset(st, 0, sizeof *st);
    errno = ENOENT;
    return sim_percent(10) ? -1 : 0;
}

int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...)
{
    (void)command;
    MUST(sim_files_is_open(fd), "a change of descriptor %d, which is not open", fd);
    return 0;
}

/* libapr's own hash function is seeded from the clock and addresses, and decides the order in which tables are walked. */
static unsigned hash(const char *key, apr_ssize_t *len)
{
    unsigned value = 5381;

    if (*len == APR_HASH_KEY_STRING)
        *len = (apr_ssize_t)strlen(key);
    for (apr_ssize_t i = 0; i < *len; i++)
        value = value * 33 + (unsigned char)key[i];
    return value;
}

apr_hash_t *__wrap_apr_hash_make(apr_pool_t *p);
apr_hash_t *__wrap_apr_hash_make(apr_pool_t *p)
{
    return apr_hash_make_custom(p, hash);
}

/* Memory grows with time, and the processor is busy or not. */
apr_status_t hp_usage_read(hp_usage_t *usage, pid_t pid)
{
    usage->rss = (apr_uint64_t)(50 + ((uint64_t)pid * 37) % 300 + (uint64_t)sim_below(200)) << 20;
    usage->cpu = (sim.now / 100) * (1 + pid % 120);
    usage->wanted = (sim.now / 100) * (1 + pid % 90);
    return sim_percent(98) ? APR_SUCCESS : ENOENT;
}

apr_uint64_t hp_usage_below(pid_t pid)
{
    return (apr_uint64_t)(pid % 7) << 20;
}

long __wrap_sysconf(int name);
long __wrap_sysconf(int name)
{
    (void)name;
    return 2;
}
