#include "helper/tools/client.h"
#include "apr-glue/http_head.h"
#include "apr-glue/sock.h"
#include <apr_general.h>
#include <apr_strings.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define PATIENCE 30 /* seconds for an answer */
#define REPLY_MAX (256 * 1024 * 1024)
#define PREFIX   "instance-"
#define REGISTRY "PASSENGER_INSTANCE_REGISTRY_DIR"

/* -- beginning and end -- */

void hp_client_init(hp_client_t *client, const char *program)
{
    int fd;

    /* What is written to a closed stdout must fail, not end up in a socket. */
    while ((fd = open("/", O_PATH)) >= 0 && fd <= 2)
        continue;
    if (fd >= 0)
        close(fd);
    signal(SIGPIPE, SIG_IGN);
    apr_initialize();
    apr_pool_create(&client->p, NULL);
    client->program = program;
}

int hp_client_fail(const hp_client_t *client, int code, const char *fmt, ...)
{
    va_list args;
    const char *line;

    va_start(args, fmt);
    line = apr_pvsprintf(client->p, fmt, args);
    va_end(args);
    fflush(stdout);
    fprintf(stderr, "%s: %s\n", client->program, line);
    return code;
}

int hp_client_finish(const hp_client_t *client, int code)
{
    if (ferror(stdout) || fflush(stdout))
        return hp_client_fail(client, HP_CLIENT_FAILED, "cannot write what there is to say: %s", strerror(errno));
    return code;
}

/* -- options -- */

AG_PRINTF(2, 3) static void complain(void *baton, const char *fmt, ...)
{
    va_list args;

    (void)baton;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
}

static apr_getopt_option_t *table_of(const hp_client_t *client, const hp_client_option_t *options)
{
    apr_array_header_t *table = apr_array_make(client->p, 16, sizeof(apr_getopt_option_t));

    for (int i = 0; options[i].name; i++) {
        apr_getopt_option_t *row = apr_array_push(table);
        row->name = options[i].name;
        row->optch = options[i].letter ? options[i].letter : 256 + i;
        row->has_arg = options[i].pvalue != NULL;
    }
    APR_ARRAY_PUSH(table, apr_getopt_option_t) = (apr_getopt_option_t){.name = "help", .optch = 'h'};
    APR_ARRAY_PUSH(table, apr_getopt_option_t) = (apr_getopt_option_t){0};
    return (apr_getopt_option_t *)(void *)table->elts;
}

static void take_option(const hp_client_option_t *options, int optch, const char *value)
{
    int i = 0;

    while (options[i].name && (options[i].letter ? options[i].letter : 256 + i) != optch)
        i++;
    if (options[i].pvalue)
        *options[i].pvalue = value;
    else if (options[i].pflag)
        ++*options[i].pflag;
}

int hp_client_options(const hp_client_t *client, const hp_client_option_t *options, const char *usage, int *pargc, const char **argv)
{
    const apr_getopt_option_t *table = table_of(client, options);
    const char *value;
    apr_getopt_t *os;
    apr_status_t rv;
    int optch;

    argv[0] = client->program;
    apr_getopt_init(&os, client->p, *pargc, argv);
    os->interleave = 1;
    os->errfn = complain;
    while ((rv = apr_getopt_long(os, table, &optch, &value)) == APR_SUCCESS) {
        if (optch == 'h') {
            fputs(usage, stdout);
            *pargc = HP_CLIENT_DONE;
            return 0;
        }
        take_option(options, optch, value);
    }
    if (rv != APR_EOF) {
        *pargc = HP_CLIENT_FAILED;
        return 0;
    }
    for (int i = os->ind; i < *pargc; i++)
        argv[i - os->ind] = os->argv[i];
    *pargc -= os->ind;
    return 1;
}

/* -- instances -- */

/* A connection to the socket at `path`, with limits on how long it may take. */
static apr_status_t connect_to(int *pfd, const char *path)
{
    const struct timeval limit = {.tv_sec = PATIENCE};
    apr_status_t rv = ag_sock_connect(pfd, path, 1);

    if (rv != APR_SUCCESS)
        return rv;
    ag_sock_nonblock(*pfd, 0);
    setsockopt(*pfd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(*pfd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    return APR_SUCCESS;
}

/* The directory of a helper that died remains, but nobody serves its socket. One that is too busy is there. */
static int alive(const char *socket_path)
{
    int fd;
    apr_status_t rv = ag_sock_connect(&fd, socket_path, 1);

    if (rv == APR_SUCCESS)
        close(fd);
    return rv == APR_SUCCESS || APR_STATUS_IS_EAGAIN(rv);
}

static const char *property(const hp_client_t *client, const json_t *properties, const char *key, const char *otherwise)
{
    const char *value = json_string_value(json_object_get(properties, key));

    return value ? apr_pstrdup(client->p, value) : otherwise;
}

/* What the watchdog wrote about itself; one that is just being made has not yet. */
static void read_properties(const hp_client_t *client, hp_client_instance_t *instance)
{
    json_t *properties = json_load_file(apr_pstrcat(client->p, instance->folder, "/properties.json", NULL), 0, NULL);

    instance->name = property(client, properties, "name", instance->id);
    instance->version = property(client, properties, "passenger_version", "unknown");
    instance->software = property(client, properties, "server_software", "unknown");
    instance->pid = json_integer_value(json_object_get(properties, "watchdog_pid"));
    json_decref(properties);
}

static void look_into(const hp_client_t *client, const char *registry, apr_array_header_t *found)
{
    DIR *d = opendir(registry);
    struct dirent *entry;

    while (d && (entry = readdir(d))) {
        hp_client_instance_t instance;
        if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) != 0)
            continue;
        instance.folder = apr_pstrcat(client->p, registry, "/", entry->d_name, NULL);
        instance.id = apr_pstrdup(client->p, entry->d_name + strlen(PREFIX));
        instance.socket = apr_pstrcat(client->p, instance.folder, "/admin", NULL);
        if (!alive(instance.socket))
            continue;
        read_properties(client, &instance);
        APR_ARRAY_PUSH(found, hp_client_instance_t) = instance;
    }
    if (d)
        closedir(d);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const hp_client_instance_t *)a)->id, ((const hp_client_instance_t *)b)->id);
}

apr_array_header_t *hp_client_instances(const hp_client_t *client)
{
    static const char *const registries[] = {"/run/mod_passenger", HP_CLIENT_RUNTIMEDIR "/passenger"};
    const char *named = getenv(REGISTRY);
    apr_array_header_t *found = apr_array_make(client->p, 4, sizeof(hp_client_instance_t));

    if (named && *named) {
        look_into(client, named, found);
    } else {
        for (apr_size_t i = 0; i < AG_LEN(registries); i++)
            look_into(client, registries[i], found);
    }
    qsort(found->elts, (size_t)found->nelts, sizeof(hp_client_instance_t), by_id);
    return found;
}

static const char *names_of(const hp_client_t *client, const apr_array_header_t *found)
{
    const char *names = "";

    for (int i = 0; i < found->nelts; i++)
        names = apr_pstrcat(client->p, names, i ? ", " : "", APR_ARRAY_IDX(found, i, hp_client_instance_t).name, NULL);
    return names;
}

const hp_client_instance_t *hp_client_choose(const hp_client_t *client, const char *wanted, int *pcount)
{
    apr_array_header_t *all = hp_client_instances(client), *found = apr_array_make(client->p, 4, sizeof(hp_client_instance_t));

    for (int i = 0; i < all->nelts; i++) {
        hp_client_instance_t *instance = &APR_ARRAY_IDX(all, i, hp_client_instance_t);
        if (!wanted || strncmp(instance->id, wanted, strlen(wanted)) == 0)
            APR_ARRAY_PUSH(found, hp_client_instance_t) = *instance;
    }
    *pcount = found->nelts;
    if (found->nelts == 1)
        return &APR_ARRAY_IDX(found, 0, hp_client_instance_t);
    if (found->nelts > 1)
        hp_client_fail(client, 0, "several instances run: %s; name one (passenger-config COMMAND --instance NAME, passenger-status NAME)",
                       names_of(client, found));
    else if (all->nelts > 0)
        hp_client_fail(client, 0, "no instance has a name that begins with \"%s\"; there is: %s", wanted, names_of(client, all));
    else
        hp_client_fail(client, 0, "no mod_passenger runs here; if Apache runs with PassengerInstanceRegistryDir, set " REGISTRY " to that folder");
    return NULL;
}

/* -- asking -- */

static apr_status_t send_all(int fd, const char *data, apr_size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        /* Refused before it was read to its end: the answer says why. */
        if (n < 0)
            return errno == EPIPE || errno == ECONNRESET ? APR_SUCCESS : errno;
        data += n;
        len -= (apr_size_t)n;
    }
    return APR_SUCCESS;
}

typedef struct {
    char *data;
    apr_size_t len, size;
} text_t;

/* Everything until the other side closes, NUL-terminated. */
static apr_status_t receive_all(int fd, text_t *text, apr_pool_t *p)
{
    for (;;) {
        ssize_t n;
        if (text->size - text->len < 65536) {
            char *larger = apr_palloc(p, 2 * text->size + 65537);
            if (text->len > 0)
                memcpy(larger, text->data, text->len);
            text->data = larger;
            text->size = 2 * text->size + 65536;
        }
        n = recv(fd, text->data + text->len, text->size - text->len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != ECONNRESET)
            return APR_STATUS_IS_EAGAIN(errno) ? APR_TIMEUP : errno;
        if (n <= 0)
            break;
        text->len += (apr_size_t)n;
        if (text->len > REPLY_MAX)
            return ENOMEM;
    }
    text->data[text->len] = '\0';
    return APR_SUCCESS;
}

static int understand(const hp_client_t *client, const text_t *text, hp_client_reply_t *reply)
{
    ag_http_head_t *head = apr_pcalloc(client->p, sizeof *head);
    const char *at = text->data, *end = at + text->len, *reason;
    apr_size_t head_len = 0;

    do {
        at += head_len;
        if (ag_http_head_parse(head, at, (apr_size_t)(end - at), &head_len, &reason) != APR_SUCCESS)
            return 0;
    } while (head->status == 100);
    reply->status = head->status;
    reply->head = apr_pstrmemdup(client->p, at, head_len);
    reply->body = at + head_len;
    reply->body_len = (apr_size_t)(end - reply->body);
    return head->content_length >= 0 && (apr_uint64_t)head->content_length == reply->body_len;
}

int hp_client_ask(const hp_client_t *client, const char *path, const hp_client_request_t *request, hp_client_reply_t *reply)
{
    const char *head = apr_psprintf(client->p,
                                    "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %" APR_SIZE_T_FMT "\r\n\r\n",
                                    request->method, request->path, request->body ? request->body_len : 0);
    text_t text = {0};
    int fd = -1;
    apr_status_t rv = connect_to(&fd, path);

    *reply = (hp_client_reply_t){0};
    if (rv == EACCES)
        return hp_client_fail(client, HP_CLIENT_DENIED, "%s: permission denied; become root, or the user who runs Apache", path);
    if (rv == APR_SUCCESS)
        rv = send_all(fd, head, strlen(head));
    if (rv == APR_SUCCESS && request->body)
        rv = send_all(fd, request->body, request->body_len);
    if (rv == APR_SUCCESS)
        rv = receive_all(fd, &text, client->p);
    if (fd >= 0)
        close(fd);
    if (APR_STATUS_IS_TIMEUP(rv) || APR_STATUS_IS_EAGAIN(rv))
        return hp_client_fail(client, HP_CLIENT_FAILED, "%s: no answer within %d seconds", path, PATIENCE);
    if (rv != APR_SUCCESS)
        return hp_client_fail(client, HP_CLIENT_FAILED, "%s: %s", path, strerror(rv));
    if (!understand(client, &text, reply))
        return hp_client_fail(client, HP_CLIENT_FAILED, "%s: the helper ended in the middle of its answer", path);
    return HP_CLIENT_DONE;
}

int hp_client_ask_well(const hp_client_t *client, const char *path, const hp_client_request_t *request, hp_client_reply_t *reply)
{
    int code = hp_client_ask(client, path, request, reply);
    json_t *value;
    const char *message;

    if (code != HP_CLIENT_DONE || reply->status == 200)
        return code;
    value = json_loadb(reply->body, reply->body_len, 0, NULL);
    message = json_string_value(json_object_get(value, "message"));
    code = hp_client_fail(client, reply->status == 403 ? HP_CLIENT_DENIED : HP_CLIENT_FAILED, "%s: %s (%d)", request->path,
                          message ? message : "refused", reply->status);
    json_decref(value);
    return code;
}

int hp_client_ask_json(const hp_client_t *client, const char *path, const hp_client_request_t *request, json_t **pvalue)
{
    hp_client_reply_t reply;
    int code = hp_client_ask_well(client, path, request, &reply);

    if (code != HP_CLIENT_DONE)
        return code;
    *pvalue = json_loadb(reply.body, reply.body_len, 0, NULL);
    return *pvalue ? code : hp_client_fail(client, HP_CLIENT_FAILED, "%s: the answer is no JSON", request->path);
}
