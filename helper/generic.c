#include "helper/generic.h"
#include "apr-glue/child.h"
#include "apr-glue/sock.h"
#include "apr-glue/text.h"
#include "helper/listens.h"
#include <apr_strings.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST_PORT   5000
#define SPAN         20000
#define FIRST_LOOK   5   /* milliseconds */
#define LAST_LOOK    100
#define CONNECT_TIME 1000
#define SEARCH_EVERY 1000

typedef struct {
    int port;
    int hold;         /* keeps the port from those who start at the same time */
    const char *path; /* of the socket, or NULL */
} place_t;

/* -- a port -- */

/* A name that only one process can have: nobody else of ours takes this port before the application does. */
static int hold(int port)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int len = snprintf(sa.sun_path + 1, sizeof sa.sun_path - 1, "mod_passenger-port-%d", port) + 1;

    if (fd >= 0 && bind(fd, (struct sockaddr *)&sa, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)len)) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static int is_free(int port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY), .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), is;

    if (fd < 0)
        return errno == EAFNOSUPPORT;
    is = bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0;
    close(fd);
    return is;
}

/* From below those that the system gives to outgoing connections, where one could be gone a moment later. */
static int choose_port(place_t *place)
{
    unsigned start = 0;

    if (getrandom(&start, sizeof start, 0) < 0)
        start = (unsigned)getpid();
    for (unsigned i = 0; i < SPAN; i++) {
        place->port = FIRST_PORT + (int)((start % SPAN + i) % SPAN);
        place->hold = hold(place->port);
        if (place->hold >= 0 && is_free(place->port))
            return 1;
        if (place->hold >= 0)
            close(place->hold);
    }
    return 0;
}

/* -- the handshake -- */

int hp_generic_greet(void)
{
    static const char greeting[] = "!> I have control 1.0\n";
    char last = '\0', byte;

    if (write(1, greeting, sizeof greeting - 1) < 0)
        return 0;
    while (read(0, &byte, 1) == 1) {
        if (byte == '\n' && last == '\n')
            return 1;
        last = byte;
    }
    return 0;
}

static int answers_port(int port, int v6)
{
    int fd, there;

    if (ag_sock_connect_port(&fd, port, v6) != APR_SUCCESS)
        return 0;
    there = ag_sock_wait_write(fd, CONNECT_TIME) == APR_SUCCESS && ag_sock_error(fd) == APR_SUCCESS;
    close(fd);
    return there;
}

/* The folder keeps others away; the core is another user, and must be let in. */
static int answers_path(const char *path)
{
    int fd;

    if (ag_sock_connect(&fd, path, 0) != APR_SUCCESS)
        return 0;
    close(fd);
    return chmod(path, 0777) == 0;
}

static const char *address(const place_t *place, char *text, size_t size)
{
    if (place->path && answers_path(place->path))
        snprintf(text, size, "unix:%s", place->path);
    else if (answers_port(place->port, 0))
        snprintf(text, size, "tcp://127.0.0.1:%d", place->port);
    else if (answers_port(place->port, 1))
        snprintf(text, size, "tcp://[::1]:%d", place->port);
    else
        return NULL;
    return text;
}

/* 1 if it has told where else the application listens: most do so because nobody told them of $PORT. */
static int tell_elsewhere(const place_t *place, pid_t application)
{
    int port = hp_listens_port(application);

    return port > 0 && port != place->port &&
           dprintf(1, HP_LISTENS_ELSEWHERE "%d, but its port ($PORT) is %d.\n", port, place->port) > 0;
}

/* Looks until somebody listens, or the application has ended. */
static __attribute__((noreturn)) void look_out(const place_t *place, pid_t application)
{
    char text[256], lines[512];
    int pause = FIRST_LOOK, waited = 0, told = 0;

    while (!address(place, text, sizeof text)) {
        if (kill(application, 0))
            _exit(0);
        (void)!ag_sock_wait(-1, pause);
        waited += pause;
        if (!told && waited / SEARCH_EVERY > (waited - pause) / SEARCH_EVERY)
            told = tell_elsewhere(place, application);
        pause = pause * 2 < LAST_LOOK ? pause * 2 : LAST_LOOK;
    }
    /* The application may have printed half a line; an empty one is left out of the log. */
    snprintf(lines, sizeof lines, "\n!> Ready\n!> socket: main;%s;http;0\n!> \n", text);
    _exit(write(1, lines, strlen(lines)) < 0);
}

const char *const *hp_generic_begin(const char *const *command, const char *folder, const char **preason, apr_pool_t *p)
{
    place_t place = {.path = folder ? apr_pstrcat(p, folder, "/socket", NULL) : NULL};
    const char **argv;
    pid_t application = getpid();
    int aside, n = 0, words = 0;

    if (!choose_port(&place)) {
        *preason = "no port was found free for it";
        return NULL;
    }
    aside = ag_child_aside();
    if (aside > 0)
        look_out(&place, application);
    if (aside < 0) {
        *preason = apr_psprintf(p, "the system could not start a process: %s", ag_text_error(p, errno));
        return NULL;
    }
    /* Only now: whatever goes wrong before is told by the caller, who begins with the greeting. */
    if (!hp_generic_greet())
        _exit(1);
    /* Set here, since the user's profile comes before and may have such variables of its own. */
    while (command[words])
        words++;
    argv = apr_pcalloc(p, (apr_size_t)(words + 4) * sizeof *argv);
    argv[n++] = "/usr/bin/env";
    argv[n++] = apr_psprintf(p, "PORT=%d", place.port);
    if (place.path)
        argv[n++] = apr_pstrcat(p, "PASSENGER_SOCKET=", place.path, NULL);
    memcpy(argv + n, command, (apr_size_t)words * sizeof *argv);
    return argv;
}
