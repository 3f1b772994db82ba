/* passenger-prestart USER-ID GROUP-ID LOG-LEVEL: requests the URLs that its input lists, one a line, and logs how each was
 * answered. The watchdog starts it for PassengerPreStart; it is a program of its own because nothing else of ours needs TLS. */
#include "apr-glue/clock.h"
#include "apr-glue/http_head.h"
#include "apr-glue/log.h"
#include "apr-glue/rights.h"
#include "apr-glue/sock.h"
#include "apr-glue/url.h"
#include <apr_general.h>
#include <apr_strings.h>
#include <apr_tables.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECT_LIMIT apr_time_from_sec(10) /* for one address */
#define ANSWER_LIMIT  apr_time_from_sec(60) /* an application may have to be started first */
#define RETRY_LIMIT   apr_time_from_sec(10) /* for an Apache that does not listen, or is just being restarted */
#define RETRY_PAUSE   250                   /* milliseconds; doubled each time */
#define RETRY_SLOWEST 2000
#define HEAD_LIMIT    65536
#define URL_LIMIT     4096

/* A URL until it was answered or given up. */
typedef struct {
    ag_url_t url;
    int done;
    apr_time_t failed_at;   /* the first time; 0: never */
    struct addrinfo *found; /* the host's own addresses, once they were asked for */
    int resolved;
} job_t;

/* One connection. Calls that fail leave a sentence in `why`. */
typedef struct {
    int fd;
    SSL *ssl; /* NULL: plain */
    apr_time_t deadline;
    int lost; /* the other end went away */
    const char *why;
    apr_pool_t *p;
} conn_t;

/* -- connecting -- */

static apr_status_t wait_until(const conn_t *c, int writable)
{
    apr_interval_time_t left = c->deadline - ag_clock_now();
    int ms = left > 0 ? (int)apr_time_as_msec(left) + 1 : 0;

    return writable ? ag_sock_wait_write(c->fd, ms) : ag_sock_wait(c->fd, ms);
}

static apr_status_t connect_to(conn_t *c, const struct sockaddr *sa, socklen_t len)
{
    int error = 0;
    socklen_t size = sizeof error;
    apr_status_t rv = APR_SUCCESS;

    c->deadline = ag_clock_now() + CONNECT_LIMIT;
    c->fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        return errno;
    if (connect(c->fd, sa, len)) {
        rv = errno == EINPROGRESS ? wait_until(c, 1) : errno;
        if (rv == APR_SUCCESS && getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0)
            rv = error;
    }
    if (rv != APR_SUCCESS) {
        close(c->fd);
        c->fd = -1;
    }
    return rv;
}

static apr_status_t connect_loopback(conn_t *c, uint16_t port)
{
    const struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    apr_status_t rv = connect_to(c, (const struct sockaddr *)&v4, sizeof v4);

    return rv == APR_SUCCESS ? rv : connect_to(c, (const struct sockaddr *)&v6, sizeof v6);
}

/* 1 if an address is this machine's: then a socket can be bound to it. */
static int is_ours(const struct addrinfo *ai)
{
    struct sockaddr_storage sa = {0};
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), bound;

    memcpy(&sa, ai->ai_addr, ai->ai_addrlen);
    if (ai->ai_family == AF_INET)
        ((struct sockaddr_in *)(void *)&sa)->sin_port = 0;
    else
        ((struct sockaddr_in6 *)(void *)&sa)->sin6_port = 0;
    bound = fd >= 0 && bind(fd, (struct sockaddr *)&sa, ai->ai_addrlen) == 0;
    if (fd >= 0)
        close(fd);
    return bound;
}

/* For an Apache that listens on one address only. */
static apr_status_t connect_by_name(conn_t *c, job_t *job, int *pours)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    apr_status_t rv = ECONNREFUSED;

    if (!job->resolved && getaddrinfo(job->url.host, apr_itoa(c->p, job->url.port), &hints, &job->found))
        job->found = NULL;
    job->resolved = 1;
    for (const struct addrinfo *ai = job->found; ai; ai = ai->ai_next) {
        if (ai->ai_family != AF_INET && ai->ai_family != AF_INET6)
            continue;
        rv = connect_to(c, ai->ai_addr, ai->ai_addrlen);
        *pours = is_ours(ai);
        if (rv == APR_SUCCESS)
            break;
    }
    return rv;
}

/* -- bytes, plain or not -- */

static int is_address(const char *host)
{
    struct in6_addr any;

    return inet_pton(AF_INET, host, &any) == 1 || inet_pton(AF_INET6, host, &any) == 1;
}

static const char *tls_problem(const conn_t *c)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;

    return apr_pstrcat(c->p, "TLS: ", reason ? reason : "the connection was closed", NULL);
}

/* Waits for what OpenSSL wants after a call that returned `result`. 1: call again. */
static int tls_again(conn_t *c, int result)
{
    int wanted = SSL_get_error(c->ssl, result);

    if (wanted != SSL_ERROR_WANT_READ && wanted != SSL_ERROR_WANT_WRITE) {
        c->lost = wanted == SSL_ERROR_SYSCALL || ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
        c->why = tls_problem(c);
        return 0;
    }
    if (wait_until(c, wanted == SSL_ERROR_WANT_WRITE) == APR_SUCCESS)
        return 1;
    c->why = "no answer in time";
    return 0;
}

/* This machine's certificate is not for 127.0.0.1; another machine must prove who it is before it gets a password. */
static int tls_begin(conn_t *c, SSL_CTX *ctx, const char *host, int ours)
{
    int result = 0;

    ERR_clear_error();
    c->ssl = SSL_new(ctx);
    if (!c->ssl || !SSL_set_fd(c->ssl, c->fd) || (!is_address(host) && !SSL_set_tlsext_host_name(c->ssl, host)))
        abort();
    if (!ours) {
        SSL_set_verify(c->ssl, SSL_VERIFY_PEER, NULL);
        if (is_address(host) ? !X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(c->ssl), host) : !SSL_set1_host(c->ssl, host))
            abort();
    }
    do
        result = SSL_connect(c->ssl);
    while (result != 1 && tls_again(c, result));
    return result == 1;
}

static int plain_again(conn_t *c, int writable)
{
    int error = errno;

    if (error == EINTR || (error == EAGAIN && wait_until(c, writable) == APR_SUCCESS))
        return 1;
    c->lost = error != EAGAIN;
    c->why = c->lost ? apr_psprintf(c->p, "the connection was lost: %s", strerror(error)) : "no answer in time";
    return 0;
}

static int send_all(conn_t *c, const char *data, apr_size_t len)
{
    while (len > 0) {
        ssize_t n;
        ERR_clear_error();
        n = c->ssl ? SSL_write(c->ssl, data, (int)len) : send(c->fd, data, len, MSG_NOSIGNAL);
        if (n > 0) {
            data += n;
            len -= (apr_size_t)n;
        } else if (c->ssl ? !tls_again(c, (int)n) : !plain_again(c, 1)) {
            return 0;
        }
    }
    return 1;
}

/* Some bytes; 0 at the end, and after a failure, which `why` names. */
static apr_size_t receive(conn_t *c, char *buf, apr_size_t size)
{
    for (;;) {
        ssize_t n;
        ERR_clear_error();
        n = c->ssl ? SSL_read(c->ssl, buf, (int)size) : recv(c->fd, buf, size, 0);
        if (n > 0)
            return (apr_size_t)n;
        if (c->ssl && SSL_get_error(c->ssl, (int)n) == SSL_ERROR_ZERO_RETURN)
            return 0;
        if ((!c->ssl && n == 0) || (c->ssl ? !tls_again(c, (int)n) : !plain_again(c, 0)))
            return 0;
    }
}

/* -- the request -- */

static const char *request_of(const ag_url_t *url, apr_pool_t *p)
{
    const char *rights = url->credentials ? apr_pstrcat(p, "Authorization: Basic ", url->credentials, "\r\n", NULL) : "";

    return apr_pstrcat(p, "HEAD ", url->target, " HTTP/1.1\r\nHost: ", url->authority,
                       "\r\nUser-Agent: passenger-prestart/" AG_VERSION "\r\nAccept: */*\r\n", rights,
                       "Connection: close\r\n\r\n", NULL);
}

/* The status of the final response, whose rest is dropped; 0 and `why` if there is none. */
static int read_status(conn_t *c)
{
    ag_http_head_t *head = apr_palloc(c->p, sizeof *head);
    char *buf = apr_palloc(c->p, HEAD_LIMIT);
    apr_size_t len = 0, n, head_len;
    const char *reason;
    apr_status_t rv = APR_INCOMPLETE;

    while (rv == APR_INCOMPLETE) {
        n = len < HEAD_LIMIT ? receive(c, buf + len, HEAD_LIMIT - len) : 0;
        if (n == 0)
            break;
        len += n;
        while ((rv = ag_http_head_parse(head, buf, len, &head_len, &reason)) == APR_SUCCESS && head->status < 200) {
            len -= head_len;
            memmove(buf, buf + head_len, len);
        }
    }
    if (rv != APR_SUCCESS) {
        if (!c->why && len == 0)
            c->lost = 1;
        if (!c->why)
            c->why = len ? "the answer is not HTTP" : "the connection was closed without an answer";
        return 0;
    }
    while (receive(c, buf, HEAD_LIMIT) > 0)
        ;
    return head->status;
}

static int talk(conn_t *c, const ag_url_t *url, SSL_CTX *tls, int ours)
{
    const char *request = request_of(url, c->p);
    int status = 0;

    c->deadline = ag_clock_now() + ANSWER_LIMIT;
    if ((!url->tls || tls_begin(c, tls, url->host, ours)) && send_all(c, request, strlen(request)))
        status = read_status(c);
    if (c->ssl)
        SSL_free(c->ssl);
    close(c->fd);
    return status;
}

/* One try. It is over for good unless nobody is there, and that for less than the limit. */
static void attempt(job_t *job, SSL_CTX *tls, apr_pool_t *p)
{
    conn_t c = {.fd = -1, .p = p};
    apr_time_t begun = ag_clock_now();
    apr_status_t rv = connect_loopback(&c, job->url.port);
    int ours = 1, status = 0;

    if (rv != APR_SUCCESS)
        rv = connect_by_name(&c, job, &ours);
    if (rv == APR_SUCCESS) {
        status = talk(&c, &job->url, tls, ours);
    } else {
        c.lost = 1;
        c.why = apr_psprintf(p, "nobody listens on port %u, neither on this machine nor at the host's addresses", job->url.port);
    }
    if (!job->failed_at)
        job->failed_at = ag_clock_now();
    if (c.lost && !status && ag_clock_now() - job->failed_at < RETRY_LIMIT)
        return;
    job->done = 1;
    if (status)
        ag_log(AG_LOG_INFO, "PSG0062", "prestart: %s answered %d after %ld ms", job->url.shown, status,
               (long)apr_time_as_msec(ag_clock_now() - begun));
    else
        ag_log(AG_LOG_WARN, "PSG0063", "prestart.failed: PassengerPreStart %s: %s", job->url.shown, c.why);
}

/* -- all of them -- */

static apr_array_header_t *read_jobs(apr_pool_t *p)
{
    apr_array_header_t *jobs = apr_array_make(p, 8, sizeof(job_t));
    char line[URL_LIMIT];

    while (fgets(line, sizeof line, stdin)) {
        job_t job = {0};
        const char *problem;
        line[strcspn(line, "\n")] = '\0';
        problem = ag_url_parse(&job.url, line, p);
        if (problem)
            ag_log(AG_LOG_WARN, "PSG0064", "prestart.failed: PassengerPreStart %s", problem);
        else
            APR_ARRAY_PUSH(jobs, job_t) = job;
    }
    return jobs;
}

/* In turn; where nobody is there yet it is tried again when the others have had theirs. */
static void work(apr_array_header_t *jobs, SSL_CTX *tls, apr_pool_t *p)
{
    int left = jobs->nelts, pause = RETRY_PAUSE;
    apr_pool_t *ptemp;

    apr_pool_create(&ptemp, p);
    while (left > 0) {
        left = 0;
        for (int i = 0; i < jobs->nelts; i++) {
            job_t *job = &APR_ARRAY_IDX(jobs, i, job_t);
            if (!job->done)
                attempt(job, tls, ptemp);
            left += !job->done;
            apr_pool_clear(ptemp);
        }
        if (left > 0)
            (void)!ag_sock_wait(-1, pause);
        pause = pause * 2 < RETRY_SLOWEST ? pause * 2 : RETRY_SLOWEST;
    }
}

/* What the watchdog has for itself alone: its end is ours, and the kernel need not spare us. */
static void settle(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd >= 0) {
        (void)!write(fd, "0", 1);
        close(fd);
    }
    signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
    pid_t parent = getppid();
    apr_pool_t *p;
    SSL_CTX *tls;

    if (argc != 4) {
        fprintf(stderr, "usage: passenger-prestart USER-ID GROUP-ID LOG-LEVEL <URLS\n"
                        "mod_passenger starts it for PassengerPreStart.\n");
        return 2;
    }
    settle();
    ag_log_set_role("passenger-prestart");
    if (!ag_rights_give_up((uid_t)strtoul(argv[1], NULL, 10), (gid_t)strtoul(argv[2], NULL, 10))) {
        ag_log(AG_LOG_ERROR, "PSG0065", "prestart.user: cannot become user %s, group %s", argv[1], argv[2]);
        return 1;
    }
    /* Only now: a change of user clears it (prctl(2)). */
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0L, 0L, 0L);
    if (getppid() != parent || apr_initialize() != APR_SUCCESS)
        return 1;
    ag_log_set_level((ag_log_level_t)atoi(argv[3]));
    apr_pool_create(&p, NULL);
    tls = SSL_CTX_new(TLS_client_method());
    if (!tls)
        abort();
    (void)!SSL_CTX_set_default_verify_paths(tls);
    work(read_jobs(p), tls, p);
    SSL_CTX_free(tls);
    return 0;
}
