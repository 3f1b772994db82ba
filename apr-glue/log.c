#include "apr-glue/log.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#define TEXT_MAX  8192
#define ROOM_WAIT 20000 /* microseconds */

static ag_log_level_t max_level = AG_LOG_NOTICE;
static const char *role = "passenger";
static int json;
static unsigned long lost;     /* lines since the last one that was written */
static int torn;               /* of the last one only a part was written */
static apr_size_t line_size;   /* of the longest line that descriptor 2 takes as a whole; 0: not looked yet */
static int socket_type;        /* 0: it is none */
static int facility = LOG_LOCAL7;
static __thread ag_record_date_t date;

static void set_time(ag_record_t *record)
{
    struct timeval now;

    gettimeofday(&now, NULL);
    record->time = apr_time_make(now.tv_sec, now.tv_usec);
    ag_record_date(&date, record->time);
    record->date = &date;
}

/* What others write to a pipe at the same time comes between the parts of a line that is longer than PIPE_BUF. */
static void look(void)
{
    struct stat st;
    int known = fstat(2, &st) == 0;
    socklen_t len = sizeof socket_type;

    line_size = known && S_ISFIFO(st.st_mode) ? PIPE_BUF : AG_RECORD_LINE;
    socket_type = 0;
    if (known && S_ISSOCK(st.st_mode))
        getsockopt(2, SOL_SOCKET, SO_TYPE, &socket_type, &len);
}

void ag_log_take(int fd)
{
    char path[32];
    int own;

    /* Opened anew, a pipe can be written without blocking and without changing that for Apache, which has it too. */
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    own = open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    dup2(own >= 0 ? own : fd, 1);
    dup2(own >= 0 ? own : fd, 2);
    if (own >= 0)
        close(own);
    close(fd);
    look();
}

void ag_log_share(int fd)
{
    dup2(fd, 1);
    dup2(fd, 2);
    close(fd);
    look();
}

void ag_log_set_facility(int value)
{
    facility = value;
}

void ag_log_set_json(int on)
{
    json = on;
}

void ag_log_set_level(ag_log_level_t level)
{
    max_level = level;
}

void ag_log_set_role(const char *name)
{
    role = name;
}

/* Waits for a reader who is only slow. */
static int wait_for_room(void)
{
    struct timeval limit = {.tv_usec = ROOM_WAIT};
    fd_set set;

    FD_ZERO(&set);
    FD_SET(2, &set);
    return select(3, NULL, &set, NULL, &limit) > 0;
}

static ssize_t write_some(const char *data, apr_size_t len)
{
    return socket_type ? send(2, data, len, MSG_DONTWAIT | MSG_NOSIGNAL) : write(2, data, len);
}

static int write_all(const char *data, apr_size_t len)
{
    for (apr_size_t done = 0; done < len;) {
        ssize_t n = write_some(data + done, len - done);
        if (n < 0 && (errno == EINTR || (errno == EAGAIN && lost == 0 && wait_for_room())))
            continue;
        if (n <= 0) {
            torn |= done > 0;
            return 0;
        }
        done += (apr_size_t)n;
    }
    return 1;
}

/* By name each time, since the daemon may be another one by now. One that is slow is waited for as long as the socket says. */
static int write_syslog(ag_log_level_t level, const char *line, apr_size_t len)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX, .sun_path = _PATH_LOG};
    char head[64];
    struct iovec parts[] = {{head, 0}, {(void *)(uintptr_t)line, len - 1}};
    struct msghdr msg = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = parts, .msg_iovlen = 2};
    ssize_t n;

    parts[0].iov_len = (size_t)snprintf(head, sizeof head, "<%d>%.15s %s[%ld]: ", facility | (level > LOG_DEBUG ? LOG_DEBUG : (int)level),
                                        date.day + 4, "mod_passenger", (long)getpid());
    do
        n = sendmsg(2, &msg, MSG_NOSIGNAL | (lost > 0 ? MSG_DONTWAIT : 0));
    while (n < 0 && errno == EINTR);
    return n >= 0;
}

static void write_line(ag_log_level_t level, const char *line, apr_size_t len)
{
    unsigned long missing = lost;

    if (torn && write_all("\n", 1))
        torn = 0;
    if (torn || !(socket_type == SOCK_DGRAM ? write_syslog(level, line, len) : write_all(line, len))) {
        lost++; /* a log that can't be written must not stop requests */
        return;
    }
    lost = 0;
    if (missing > 0)
        ag_log(AG_LOG_WARN, "PSG0800", "log.lost: %lu lines before this one could not be written", missing);
}

static void AG_PRINTF(4, 0) say(const char *request, ag_log_level_t level, const char *tag, const char *fmt, va_list args)
{
    char text[AG_RECORD_LINE], line[AG_RECORD_LINE];
    ag_record_t record = {.role = role, .level = level, .tag = tag, .request = request, .text = text};
    apr_size_t len, taken;
    int n = vsnprintf(text, TEXT_MAX, fmt, args);

    if (n < 0)
        return;
    record.len = n < TEXT_MAX ? (apr_size_t)n : TEXT_MAX - 1;
    if (line_size == 0)
        look();
    set_time(&record);
    record.pid = (long)getpid();
    len = json ? ag_record_json(line, line_size, &record, &taken) : ag_record_text(line, line_size, &record, &taken);
    write_line(level, line, len);
}

void ag_log(ag_log_level_t level, const char *tag, const char *fmt, ...)
{
    va_list args;

    if (level > max_level)
        return;
    va_start(args, fmt);
    say(NULL, level, tag, fmt, args);
    va_end(args);
}

void ag_log_about(const char *request, ag_log_level_t level, const char *tag, const char *fmt, ...)
{
    va_list args;

    if (level > max_level)
        return;
    va_start(args, fmt);
    say(request, level, tag, fmt, args);
    va_end(args);
}

void ag_log_write(const char *line, apr_size_t len)
{
    write_line(AG_LOG_NOTICE, line, len);
}

void ag_log_make_lines(const ag_log_output_t *output, ag_log_line_cb_t cb, void *baton)
{
    ag_record_t record = {.role = role, .pid = (long)getpid(), .level = AG_LOG_NOTICE, .output = output->from,
                          .text = output->text, .len = output->len, .more = output->more};
    char line[AG_RECORD_LINE];
    apr_size_t len, taken;

    if (line_size == 0)
        look();
    set_time(&record);
    do {
        len = output->json ? ag_record_json(line, line_size, &record, &taken) : ag_record_text(line, line_size, &record, &taken);
        cb(baton, line, len);
        record.text += taken;
        record.len -= taken;
    } while (record.len > 0);
}

static void write_output(void *baton, const char *line, apr_size_t len)
{
    (void)baton;
    ag_log_write(line, len);
}

void ag_log_output(const ag_record_origin_t *from, const char *text, apr_size_t len, int more)
{
    ag_log_make_lines(&(ag_log_output_t){from, text, len, more, json}, write_output, NULL);
}

const char *ag_log_due(ag_log_rate_t *rate, apr_time_t now)
{
    rate->text[0] = '\0';
    if (rate->next > now) {
        rate->kept_back++;
        return NULL;
    }
    if (rate->kept_back > 0)
        snprintf(rate->text, sizeof rate->text, " (%lu more since the last such line)", rate->kept_back);
    rate->kept_back = 0;
    rate->next = now + apr_time_from_sec(60);
    return rate->text;
}
