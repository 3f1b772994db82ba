#include "helper/porter.h"
#include "apr-glue/loop.h"
#include "apr-glue/path.h"
#include "apr-glue/sock.h"
#include "apr-glue/text.h"
#include "helper/generic.h"
#include <apr_escape.h>
#include <apr_strings.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#define LISTEN_FD 3
#define PATIENCE  5 /* seconds for a question to come, which is sent at once */

/* -- where a file is -- */

/* Where an opened file or folder really is; NULL if it is nowhere any more. */
static const char *place_of(int fd, apr_pool_t *p)
{
    char path[PATH_MAX + 1];
    ssize_t n = readlink(apr_psprintf(p, "/proc/self/fd/%d", fd), path, sizeof path);

    return n > 0 && n <= PATH_MAX && path[0] == '/' ? apr_pstrmemdup(p, path, (apr_size_t)n) : NULL;
}

static int below(const char *path, const char *folder)
{
    apr_size_t len = strlen(folder);

    while (len > 0 && folder[len - 1] == '/')
        len--;
    return strncmp(path, folder, len) == 0 && path[len] == '/';
}

/* A folder may be a link that is changed with each release, so it is looked at each time. */
static int really_below(const char *path, const char *folder, apr_pool_t *p)
{
    int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    const char *place = fd >= 0 ? place_of(fd, p) : NULL;

    if (fd >= 0)
        close(fd);
    return place && below(path, place);
}

static const char *folder_of(const char *mapping)
{
    return strchr(mapping, ' ') + 1;
}

static int allowed(const hp_porter_places_t *places, const char *path, int (*is_below)(const char *, const char *, apr_pool_t *), apr_pool_t *p)
{
    if (is_below(path, places->app_root, p))
        return 1;
    for (int i = 0; i < places->folders->nelts; i++) {
        if (is_below(path, APR_ARRAY_IDX(places->folders, i, const char *), p))
            return 1;
    }
    for (int i = 0; i < places->mappings->nelts; i++) {
        if (is_below(path, folder_of(APR_ARRAY_IDX(places->mappings, i, const char *)), p))
            return 1;
    }
    return 0;
}

static int called_below(const char *path, const char *folder, apr_pool_t *p)
{
    (void)p;
    return below(path, folder);
}

/* -- what it is called -- */

/* The path that a URI stands for, or NULL. */
static const char *map(const hp_porter_places_t *places, const char *uri, const char **psentence, apr_pool_t *p)
{
    char *name = apr_pstrmemdup(p, uri, strcspn(uri, "?#"));
    apr_status_t rv = apr_unescape_url(name, name, APR_ESCAPE_STRING, NULL, NULL, 0, NULL);
    const char *best = NULL;
    apr_size_t best_len = 0;

    if ((rv != APR_SUCCESS && rv != APR_NOTFOUND) || ag_path_climbs(name)) { /* not found: there was nothing to decode */
        *psentence = "it is no plain URI: \"..\" and broken percent-encoding are not taken";
        return NULL;
    }
    for (int i = 0; i < places->mappings->nelts; i++) {
        const char *mapping = APR_ARRAY_IDX(places->mappings, i, const char *);
        apr_size_t len = strcspn(mapping, " ");
        while (len > 0 && mapping[len - 1] == '/')
            len--;
        if (strncmp(name, mapping, len) == 0 && name[len] == '/' && (!best || len > best_len)) {
            best = mapping;
            best_len = len;
        }
    }
    if (best)
        return apr_pstrcat(p, folder_of(best), name + best_len, NULL);
    *psentence = "no URI of PassengerXAccelMapping is the beginning of it; name its folder there";
    return NULL;
}

/* -- one file -- */

static char outside(const char **psentence, const hp_porter_places_t *places, const char *path, apr_pool_t *p)
{
    *psentence = apr_psprintf(p, "%s lies outside of the application's folder %s; allow a folder that it lies in with PassengerXSendfilePath", path,
                              places->app_root);
    return HP_PORTER_REFUSED;
}

static char not_opened(const char **psentence, const hp_porter_places_t *places, const char *path, int error, apr_pool_t *p)
{
    const char *closed = error == EACCES ? ag_path_closed(path, p) : NULL;
    int short_of = error == EMFILE || error == ENFILE || error == ENOMEM;

    if (!short_of && !allowed(places, path, called_below, p))
        return outside(psentence, places, path, p);
    if (error == EACCES)
        *psentence = closed ? apr_psprintf(p, "the user %s may not enter %s; give it the right to (chmod a+x %s)", places->user, closed, closed)
                            : apr_psprintf(p, "the user %s may not read %s; give it the right to (chmod, chown or setfacl)", places->user, path);
    else
        *psentence = apr_psprintf(p, "%s cannot be opened by user %s: %s", path, places->user, ag_text_error(p, error));
    if (error == ENOENT || error == ENOTDIR || error == ELOOP || error == ENAMETOOLONG)
        return HP_PORTER_MISSING;
    return short_of || error == EIO ? HP_PORTER_FAILED : HP_PORTER_REFUSED;
}

/* What was found is looked at before it is opened for reading: opening a device may do something. */
static char open_found(int *pfd, const char **psentence, const hp_porter_places_t *places, const char *path, int found, apr_pool_t *p)
{
    const char *place;
    struct stat st;

    if (fstat(found, &st) || (S_ISREG(st.st_mode) && st.st_nlink == 0))
        return not_opened(psentence, places, path, ENOENT, p);
    place = place_of(found, p);
    if (!place || !allowed(places, place, really_below, p))
        return outside(psentence, places, place ? place : path, p);
    if (!S_ISREG(st.st_mode)) {
        *psentence = apr_psprintf(p, "%s is no regular file", place);
        return HP_PORTER_REFUSED;
    }
    *pfd = open(apr_psprintf(p, "/proc/self/fd/%d", found), O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    return *pfd >= 0 ? HP_PORTER_OPEN : not_opened(psentence, places, place, errno, p);
}

/* Returns the answer's first byte; *pfd and *psentence follow from it. */
static char open_named(int *pfd, const char **psentence, const hp_porter_places_t *places, char kind, const char *name, apr_pool_t *p)
{
    const char *path = kind == HP_PORTER_URI ? map(places, name, psentence, p)
                       : name[0] == '/'      ? name
                                             : apr_pstrcat(p, places->app_root, "/", name, NULL);
    char answer;
    int found;

    if (!path)
        return HP_PORTER_REFUSED;
    found = open(path, O_PATH | O_CLOEXEC);
    if (found < 0)
        return not_opened(psentence, places, path, errno, p);
    answer = open_found(pfd, psentence, places, path, found, p);
    close(found);
    return answer;
}

/* -- questions -- */

static apr_size_t receive(int fd, char *text, apr_size_t size)
{
    apr_size_t len = 0;
    ssize_t n;

    while (len < size && ((n = recv(fd, text + len, size - len, 0)) > 0 || (n < 0 && errno == EINTR)))
        len += n > 0 ? (apr_size_t)n : 0;
    return len;
}

static void answer(int fd, const hp_porter_places_t *places, apr_pool_t *p)
{
    char text[HP_PORTER_NAME_MAX + 2], said[HP_PORTER_ANSWER_MAX];
    const struct timeval patience = {.tv_sec = PATIENCE};
    const char *sentence = "";
    apr_size_t len;
    int file = -1;

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    len = receive(fd, text, sizeof text);
    if (len < 2)
        return;
    if (len == sizeof text) {
        said[0] = HP_PORTER_MISSING;
        sentence = "its name is too long";
    } else {
        text[len] = '\0';
        said[0] = open_named(&file, &sentence, places, text[0], text + 1, p);
    }
    apr_cpystrn(said + 1, sentence, sizeof said - 1);
    /* A core that has gone needs no answer. */
    (void)!ag_sock_send(fd, said, strlen(said), &file, file >= 0);
    if (file >= 0)
        close(file);
}

static void on_listener(void *baton, int events)
{
    int fd = accept4(LISTEN_FD, NULL, NULL, SOCK_CLOEXEC);
    apr_pool_t *p;

    (void)events;
    if (fd < 0)
        return;
    apr_pool_create(&p, NULL);
    answer(fd, baton, p);
    apr_pool_destroy(p);
    close(fd);
}

static void on_input(void *baton, int events)
{
    char byte;

    (void)events;
    if (read(0, &byte, 1) == 0)
        ag_loop_stop(baton);
}

static void on_term(void *baton, int signum)
{
    (void)signum;
    ag_loop_stop(baton);
}

void hp_porter_run(const hp_porter_places_t *places)
{
    ag_loop_t *loop;
    apr_pool_t *p;

    if (!hp_generic_greet())
        _exit(1);
    apr_pool_create(&p, NULL);
    loop = ag_loop_create(p);
    if (!loop || ag_sock_nonblock(LISTEN_FD, 1) != APR_SUCCESS)
        _exit(1);
    signal(SIGPIPE, SIG_IGN);
    ag_loop_signal(loop, SIGTERM, on_term, loop);
    ag_loop_io_create(loop, LISTEN_FD, AG_LOOP_READ, on_listener, (void *)(uintptr_t)places);
    ag_loop_io_create(loop, 0, AG_LOOP_READ, on_input, loop);
    dprintf(1, "!> Ready\n!> socket: main;fd:3;session;1\n!> \n");
    ag_loop_run(loop);
    _exit(0);
}
