#include "helper/fastcgi.h"
#include "apr-glue/child.h"
#include "apr-glue/sock.h"
#include "apr-glue/text.h"
#include "helper/fcgi.h"
#include "helper/generic.h"
#include <apr_strings.h>
#include <apr_tables.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SOCKET_FD   3
#define BACKLOG     511
#define FIRST_LOOK  5   /* milliseconds */
#define LAST_LOOK   100
#define ANSWER_TIME 200 /* for an application that has read the question */

/* Whatever it does with the question shows that it is in its loop: it answers (all libraries do), or reads it, or closes. A connection that is reset
 * was never taken. */
static int is_answered(int fd, pid_t application)
{
    int pause = FIRST_LOOK, unread = 1;
    char byte;
    ssize_t n;

    while ((n = recv(fd, &byte, 1, MSG_DONTWAIT)) < 0 && errno == EAGAIN) {
        if (ioctl(fd, SIOCOUTQ, &unread) == 0 && unread == 0)
            return ag_sock_wait(fd, ANSWER_TIME) == APR_SUCCESS ? recv(fd, &byte, 1, MSG_DONTWAIT) >= 0 : 1;
        if (kill(application, 0))
            return 0;
        (void)!ag_sock_wait(fd, pause);
        pause = pause * 2 < LAST_LOOK ? pause * 2 : LAST_LOOK;
    }
    return n >= 0;
}

static __attribute__((noreturn)) void look_out(const char *path, int concurrency, pid_t application)
{
    char question[HP_FCGI_QUESTION_ROOM], lines[512];
    apr_size_t len = hp_fcgi_question(question);
    int fd;

    close(SOCKET_FD);
    if (ag_sock_connect(&fd, path, 0) != APR_SUCCESS || send(fd, question, len, MSG_NOSIGNAL) != (ssize_t)len || !is_answered(fd, application))
        _exit(0);
    close(fd);
    /* The application may have printed half a line; an empty one is left out of the log. */
    snprintf(lines, sizeof lines, "\n!> Ready\n!> socket: main;unix:%s;fastcgi;%d\n!> \n", path, concurrency);
    _exit(write(1, lines, strlen(lines)) < 0);
}

static int make_socket(const char *path)
{
    int fd;
    apr_status_t rv = ag_sock_listen(&fd, path, BACKLOG, 0777, (uid_t)-1);

    if (rv != APR_SUCCESS)
        return rv;
    /* Programs of this kind expect to wait in accept(2). */
    rv = ag_sock_nonblock(fd, 0);
    if (rv == APR_SUCCESS && fd != SOCKET_FD)
        rv = dup2(fd, SOCKET_FD) < 0 ? errno : close(fd);
    return rv == APR_SUCCESS && fcntl(SOCKET_FD, F_SETFD, 0) ? errno : rv;
}

int hp_fastcgi_begin(const char *folder, int concurrency, const char **psocket, const char **preason, apr_pool_t *p)
{
    const char *path = folder ? apr_pstrcat(p, folder, "/socket", NULL) : NULL;
    pid_t application = getpid();
    apr_status_t rv = path ? make_socket(path) : EACCES;
    int aside;

    if (rv != APR_SUCCESS) {
        *preason = apr_psprintf(p, "no socket could be made for it in the helper's folder: %s", ag_text_error(p, rv));
        return 0;
    }
    aside = ag_child_aside();
    if (aside > 0)
        look_out(path, concurrency, application);
    if (aside < 0) {
        *preason = apr_psprintf(p, "the system could not start a process: %s", ag_text_error(p, errno));
        return 0;
    }
    *psocket = path;
    return 1;
}

const char *const *hp_fastcgi_wrap(const char *const *command, apr_pool_t *p)
{
    apr_array_header_t *argv = apr_array_make(p, 8, sizeof(const char *));

    APR_ARRAY_PUSH(argv, const char *) = "/bin/sh";
    APR_ARRAY_PUSH(argv, const char *) = "-c";
    APR_ARRAY_PUSH(argv, const char *) = "exec \"$0\" \"$@\" <&3 3<&-";
    while (*command)
        APR_ARRAY_PUSH(argv, const char *) = *command++;
    APR_ARRAY_PUSH(argv, const char *) = NULL;
    return (const char *const *)argv->elts;
}
