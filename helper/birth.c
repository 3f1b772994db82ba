#include "helper/birth.h"
#include "apr-glue/procfile.h"
#include "apr-glue/sock.h"
#include <apr_strings.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ORDER "fork"
#define BORN  "born"
#define WORDS 256 /* of a preloader that can't */

struct hp_birth_t {
    apr_pool_t *p;
    ag_loop_io_t *io;
    int fd;
    uid_t uid;
    hp_birth_cb_t cb;
    void *baton;
};

apr_status_t hp_birth_look(hp_birth_facts_t *pfacts, pid_t pid)
{
    char text[4096];
    unsigned long real, effective, saved, gid;
    const char *uids, *gids, *parent;

    if (ag_procfile_of(text, sizeof text, pid, "status") < 0)
        return errno;
    /* A name that a process gave itself has its newlines escaped there, and stands in the first line. */
    parent = strstr(text, "\nPPid:");
    uids = strstr(text, "\nUid:");
    gids = strstr(text, "\nGid:");
    if (!parent || !uids || !gids || sscanf(uids, "\nUid: %lu %lu %lu", &real, &effective, &saved) != 3 ||
        sscanf(gids, "\nGid: %lu", &gid) != 1)
        return EINVAL;
    pfacts->parent = (pid_t)strtol(parent + strlen("\nPPid:"), NULL, 10);
    pfacts->uid = real == effective && effective == saved ? (uid_t)real : (uid_t)-1;
    pfacts->gid = (gid_t)gid;
    pfacts->session = getsid(pid);
    pfacts->group = getpgid(pid);
    return APR_SUCCESS;
}

/* Nothing is reaped between the message and this look, so the pid still means its sender, or nobody. */
static const char *objection(const hp_birth_t *birth, const struct ucred *who)
{
    hp_birth_facts_t facts = {0};

    if (who->pid <= 1 || hp_birth_look(&facts, who->pid) != APR_SUCCESS)
        return "it has ended again";
    if (who->uid != birth->uid || facts.uid != birth->uid)
        return "it runs as another user";
    if (facts.parent != getpid())
        return "its parent still lives";
    if (facts.session != who->pid || facts.group != who->pid)
        return "it leads no session of its own";
    return NULL;
}

static const char *printable(hp_birth_t *birth, const char *text, apr_size_t len)
{
    char *copy = apr_pstrmemdup(birth->p, text, len);

    for (char *c = copy; *c; c++) {
        if (!isprint((unsigned char)*c))
            *c = ' ';
    }
    return copy;
}

static void close_all(struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (apr_size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            close(fd);
        }
    }
}

static void find_sender(struct msghdr *msg, struct ucred *who)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS && c->cmsg_len == CMSG_LEN(sizeof *who))
            memcpy(who, CMSG_DATA(c), sizeof *who);
    }
}

static void on_word(void *baton, int events)
{
    hp_birth_t *birth = baton;
    char text[WORDS], control[512];
    struct iovec iov = {text, sizeof text};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct ucred who = {.uid = (uid_t)-1};
    const char *reason;
    ssize_t n = recvmsg(birth->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    close_all(&msg);
    find_sender(&msg, &who);
    ag_loop_io_destroy(&birth->io);
    if (n == (ssize_t)strlen(BORN) && memcmp(text, BORN, (size_t)n) == 0)
        reason = objection(birth, &who);
    else
        reason = n > 0 ? printable(birth, text, (apr_size_t)n) : "it did not fork";
    birth->cb(birth->baton, reason ? 0 : who.pid, reason);
}

/* The preloader's end goes with the order, and is closed here: when no process has it any more, nobody will be born. */
static apr_status_t send_order(const hp_birth_order_t *order, int birth)
{
    int fds[] = {order->fds[0], order->fds[1], order->fds[2], order->fds[3], birth};
    char control[CMSG_SPACE(sizeof fds)] = {0};
    struct iovec iov = {(void *)(uintptr_t)ORDER, strlen(ORDER)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fds);
    memcpy(CMSG_DATA(c), fds, sizeof fds);
    return sendmsg(order->channel, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? errno : APR_SUCCESS;
}

apr_status_t hp_birth_create(hp_birth_t **pbirth, ag_loop_t *loop, const hp_birth_order_t *order, hp_birth_cb_t cb, void *baton, apr_pool_t *p)
{
    int ends[2], on = 1;
    hp_birth_t *birth;
    apr_status_t rv;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
        return errno;
    /* The preloader's end is an ordinary blocking one. */
    rv = setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) ? errno : ag_sock_nonblock(ends[0], 1);
    if (rv == APR_SUCCESS)
        rv = send_order(order, ends[1]);
    close(ends[1]);
    if (rv != APR_SUCCESS) {
        close(ends[0]);
        return rv;
    }
    birth = apr_pcalloc(p, sizeof *birth);
    birth->p = p;
    birth->fd = ends[0];
    birth->uid = order->uid;
    birth->cb = cb;
    birth->baton = baton;
    birth->io = ag_loop_io_create(loop, birth->fd, AG_LOOP_READ, on_word, birth);
    *pbirth = birth;
    return APR_SUCCESS;
}

void hp_birth_answer(const hp_birth_t *birth, uint64_t number)
{
    const char *text = apr_psprintf(birth->p, "%" APR_UINT64_T_FMT, (apr_uint64_t)number);

    (void)!send(birth->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void hp_birth_destroy(hp_birth_t **pbirth)
{
    hp_birth_t *birth = *pbirth;

    *pbirth = NULL;
    if (!birth)
        return;
    ag_loop_io_destroy(&birth->io);
    close(birth->fd);
}
