#include "helper/birth.c"
#include "t/lib/tap.h"
#include <sys/wait.h>

static ag_loop_t *loop;
static pid_t born;
static char said[200];

static void on_birth(void *baton, pid_t pid, const char *reason)
{
    (void)baton;
    born = pid;
    snprintf(said, sizeof said, "%s", reason ? reason : "");
    ag_loop_stop(loop);
}

/* What a preloader takes with an order; the first three are closed. The number of descriptors that came. */
static int take(int channel, int *pbirth)
{
    char text[64], control[256];
    int fds[8] = {-1, -1, -1, -1, -1, -1, -1, -1}, n = 0;
    struct iovec iov = {text, sizeof text};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *c;

    if (recvmsg(channel, &msg, 0) != 4 || memcmp(text, "fork", 4) != 0 || !(c = CMSG_FIRSTHDR(&msg)))
        return -1;
    n = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(fds, CMSG_DATA(c), (apr_size_t)n * sizeof(int));
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    *pbirth = fds[4];
    return n;
}

static int order(hp_birth_t **pbirth, uid_t uid, apr_pool_t *p)
{
    int pair[2], end = -1, n;
    hp_birth_order_t what = {.uid = uid, .fds = {0, 1, 2, 2}};

    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair))
        return -1;
    what.channel = pair[0];
    ok(hp_birth_create(pbirth, loop, &what, on_birth, NULL, p) == APR_SUCCESS, "a preloader is asked");
    n = take(pair[1], &end);
    is_int(n, 5, "and given five descriptors");
    close(pair[0]);
    close(pair[1]);
    return end;
}

/* A child that says so and waits for an answer; its exit code tells whether it got one. */
static pid_t child(const hp_birth_t *birth, int end, int own_session)
{
    char answer[32] = "";
    pid_t pid = fork();

    if (pid)
        return pid;
    close(birth->fd);
    if (own_session)
        setsid();
    if (send(end, "born", 4, 0) != 4)
        _exit(3);
    _exit(recv(end, answer, sizeof answer - 1, 0) > 0 && strcmp(answer, "4611686018427387911") == 0 ? 7 : 4);
}

static void try_child(const char *name, int own_session, uid_t uid, const char *reason)
{
    hp_birth_t *birth = NULL;
    apr_pool_t *p;
    int end, status;
    pid_t pid;

    apr_pool_create(&p, NULL);
    end = order(&birth, uid, p);
    pid = child(birth, end, own_session);
    close(end);
    ag_loop_run(loop);
    is_str(said, reason, "%s", name);
    is_int(born, *reason ? 0 : pid, "%s: the pid", name);
    if (!*reason)
        hp_birth_answer(birth, UINT64_C(4611686018427387911));
    hp_birth_destroy(&birth);
    waitpid(pid, &status, 0);
    is_int(WEXITSTATUS(status), *reason ? 4 : 7, "%s: it hears of it", name);
    apr_pool_destroy(p);
}

static void try_words(const char *text, const char *reason)
{
    hp_birth_t *birth = NULL;
    apr_pool_t *p;
    int end;

    apr_pool_create(&p, NULL);
    end = order(&birth, geteuid(), p);
    if (*text)
        ok(send(end, text, strlen(text), 0) > 0, "the preloader says something");
    close(end);
    ag_loop_run(loop);
    is_str(said, reason, "what it says is shown");
    hp_birth_destroy(&birth);
    apr_pool_destroy(p);
}

static void facts(void)
{
    hp_birth_facts_t f = {0};

    is_int(hp_birth_look(&f, getpid()), APR_SUCCESS, "we can be looked at");
    is_int(f.uid, getuid(), "our user");
    is_int(f.gid, getgid(), "our group");
    is_int(f.parent, getppid(), "our parent");
    is_int(f.session, getsid(0), "our session");
    ok(hp_birth_look(&f, (pid_t)0x3fffffff) != APR_SUCCESS, "nobody");
}

int main(void)
{
    apr_pool_t *p;

    apr_initialize();
    apr_pool_create(&p, NULL);
    loop = ag_loop_create(p);
    facts();
    try_child("a child in a session of its own", 1, geteuid(), "");
    try_child("a child in ours", 0, geteuid(), "it leads no session of its own");
    try_child("a child of another user", 1, geteuid() + 1, "it runs as another user");
    try_words("", "it did not fork");
    try_words("fork:\nno\x1b room", "fork: no  room");
    try_words("born", "its parent still lives"); /* ours does */
    apr_pool_destroy(p);
    return done_testing();
}
