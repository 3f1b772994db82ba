#include "mod_passenger/logfile.h"

#include "mod_passenger/conf.h"
#include "mod_passenger/once.h"

#include <fcntl.h>
#include <http_main.h>
#include <sys/stat.h>
#include <unistd.h>

/* The number changes with held_t, because a new module may find what an old one kept. */
#define KEPT  "mod_passenger.logfile/1"
/* A FIFO without a reader is refused instead of waited for. */
#define FLAGS (O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)

typedef struct {
    dev_t dev;
    ino_t ino; /* 0: it is no file */
} held_t;

static held_t *held(void)
{
    held_t *kept = ap_retained_data_get(KEPT);

    return kept ? kept : ap_retained_data_create(KEPT, sizeof *kept);
}

int mp_logfile_open(void)
{
    const char *path = mp_conf_global()->log_file;
    int fd = path ? open(path, FLAGS, 0644) : -1;
    struct stat st;

    memset(held(), 0, sizeof(held_t));
    if (path && fd < 0)
        MP_LOG(APLOG_WARNING, errno, ap_server_conf, "PSG0512", "PassengerLogFile: open(%s); the error log is used", path);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        *held() = (held_t){st.st_dev, st.st_ino};
    return fd;
}

/* Whoever writes to that folder between two reloads must not have root's helper write to another place: links are not followed here. */
int mp_logfile_follow(void)
{
    const char *path = mp_conf_global()->log_file;
    struct stat st;
    int fd;

    if (!path || held()->ino == 0 || (stat(path, &st) == 0 && st.st_dev == held()->dev && st.st_ino == held()->ino))
        return -1;
    fd = open(path, FLAGS | O_NOFOLLOW, 0644);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1) {
        *held() = (held_t){st.st_dev, st.st_ino};
        return fd;
    }
    if (mp_once(path))
        MP_LOG(APLOG_WARNING, fd < 0 ? errno : 0, ap_server_conf, "PSG2810",
               "PassengerLogFile: %s is another file than the one that is written to, and takes its place only when Apache is reloaded: %s", path,
               fd < 0 ? "it can't be opened, or is a symbolic link" : "it has other names, or is no file");
    if (fd >= 0)
        close(fd);
    return -1;
}
