#include "helper/scribe.h"
#include "apr-glue/loop.h"
#include "apr-glue/sock.h"
#include <apr_general.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LISTEN_FD   3
#define BLOCK       65536
#define LOOK_EVERY  apr_time_from_sec(1) /* for a file that was rotated away */
#define CORES_MAX   4                    /* connections at once: one that dies, one that comes */
#define LAST_WORDS  (apr_time_from_sec(1) / 10) /* those who are told to end with us may print something on their way */

typedef struct scribe_t {
    const char *path;
    int fd; /* of the log */
    apr_time_t looked_at;
    unsigned long long lost; /* bytes since the last that could be written */
    int why;                 /* errno of then */
    ag_loop_t *loop;
    ag_loop_io_t *input;
    struct core_t {
        struct scribe_t *scribe;
        int fd; /* -1: free */
        ag_loop_io_t *io;
    } cores[CORES_MAX];
    ag_loop_timer_t *end_timer; /* NULL: nobody has told us to end */
} scribe_t;

int hp_scribe_plausible(const char *path)
{
    apr_size_t len = strlen(path);

    return (len > 4 && strcmp(path + len - 4, ".log") == 0) || strstr(path, "/log/") || strstr(path, "/logs/");
}

/* -- the file -- */

static int open_log(const char *path, const char **preason)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, 0640);
    struct stat st;

    *preason = fd < 0 && errno == ELOOP ? "it is a symbolic link, and those are not followed" : strerror(errno);
    if (fd >= 0 && (fstat(fd, &st) || !S_ISREG(st.st_mode))) {
        *preason = "it is no regular file";
        close(fd);
        fd = -1;
    }
    return fd;
}

/* After logrotate's "create" the name stands for another file, or for none. */
static void follow_name(scribe_t *s)
{
    struct stat named, held;
    const char *reason;
    int fd;

    if (ag_loop_now() - s->looked_at < LOOK_EVERY)
        return;
    s->looked_at = ag_loop_now();
    if (fstat(s->fd, &held) == 0 && lstat(s->path, &named) == 0 && named.st_dev == held.st_dev && named.st_ino == held.st_ino)
        return;
    fd = open_log(s->path, &reason);
    if (fd < 0)
        return; /* the old one is better than none */
    close(s->fd);
    s->fd = fd;
}

static int put(scribe_t *s, const char *data, apr_size_t len)
{
    while (len > 0) {
        ssize_t n = write(s->fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            s->lost += len;
            s->why = n < 0 ? errno : ENOSPC;
            return 0;
        }
        data += n;
        len -= (apr_size_t)n;
    }
    return 1;
}

static void append(scribe_t *s, const char *data, apr_size_t len)
{
    char line[160];
    unsigned long long lost = s->lost;

    follow_name(s);
    if (lost > 0) {
        int n = snprintf(line, sizeof line, "\nmod_passenger: %llu bytes before this line could not be written: %s\n", lost, strerror(s->why));
        s->lost = 0;
        if (!put(s, line, (apr_size_t)n)) {
            s->lost = lost + len;
            return;
        }
    }
    put(s, data, len);
}

/* -- connections -- */

static void on_last_words(void *baton)
{
    scribe_t *s = baton;

    ag_loop_stop(s->loop);
}

/* One read; 0 when nothing more is there. */
static int take(struct core_t *core)
{
    scribe_t *s = core->scribe;
    char block[BLOCK];
    ssize_t n = recv(core->fd, block, sizeof block, MSG_DONTWAIT);
    int open = 0;

    if (n > 0) {
        append(s, block, (apr_size_t)n);
        if (s->end_timer)
            ag_loop_timer_start(s->end_timer, LAST_WORDS);
        return 1;
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        ag_loop_io_destroy(&core->io);
        close(core->fd);
        core->fd = -1;
    }
    for (int i = 0; i < CORES_MAX; i++)
        open += s->cores[i].fd >= 0;
    if (s->end_timer && open == 0)
        ag_loop_stop(s->loop);
    return 0;
}

static void on_core(void *baton, int events)
{
    (void)events;
    take(baton);
}

static void on_listener(void *baton, int events)
{
    scribe_t *s = baton;
    int fd = accept4(LISTEN_FD, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)events;
    for (int i = 0; fd >= 0 && i < CORES_MAX; i++) {
        if (s->cores[i].fd >= 0)
            continue;
        s->cores[i].scribe = s;
        s->cores[i].fd = fd;
        s->cores[i].io = ag_loop_io_create(s->loop, fd, AG_LOOP_READ, on_core, &s->cores[i]);
        fd = -1;
    }
    if (fd >= 0)
        close(fd);
}

static void end(scribe_t *s)
{
    if (s->end_timer)
        return;
    s->end_timer = ag_loop_timer_create(s->loop, on_last_words, s);
    ag_loop_timer_start(s->end_timer, LAST_WORDS);
    on_listener(s, 0);
}

static void on_input(void *baton, int events)
{
    scribe_t *s = baton;
    char byte;

    (void)events;
    if (read(0, &byte, 1) != 0)
        return;
    ag_loop_io_destroy(&s->input);
    end(s);
}

static void on_term(void *baton, int signum)
{
    (void)signum;
    end(baton);
}

/* -- the conversation -- */

/* The parameters, up to the empty line, say nothing that we do not know. */
static int greeted(void)
{
    char byte, before = 0;

    dprintf(1, "!> I have control 1.0\n");
    while (read(0, &byte, 1) == 1) {
        if (byte == '\n' && before == '\n')
            return 1;
        before = byte;
    }
    return 0;
}

void hp_scribe_run(const char *path)
{
    scribe_t s = {.path = path};
    const char *reason;
    apr_pool_t *p;

    if (!greeted())
        _exit(1);
    s.fd = open_log(path, &reason);
    if (s.fd < 0) {
        dprintf(1, "!> Error\n\nThe log file %s (PassengerAppLogFile) cannot be written by uid %lu: %s.\n", path, (unsigned long)geteuid(), reason);
        _exit(1);
    }
    apr_pool_create(&p, NULL);
    s.loop = ag_loop_create(p);
    if (!s.loop || ag_sock_nonblock(LISTEN_FD, 1) != APR_SUCCESS)
        _exit(1);
    for (int i = 0; i < CORES_MAX; i++)
        s.cores[i].fd = -1;
    signal(SIGPIPE, SIG_IGN);
    ag_loop_signal(s.loop, SIGTERM, on_term, &s);
    ag_loop_io_create(s.loop, LISTEN_FD, AG_LOOP_READ, on_listener, &s);
    s.input = ag_loop_io_create(s.loop, 0, AG_LOOP_READ, on_input, &s);
    dprintf(1, "!> Ready\n!> socket: main;fd:3;session;1\n!> \n");
    ag_loop_run(s.loop);
    _exit(0);
}
