/* What the command-line tools share: finding instances, asking one of them, and saying in one line what went wrong. */
#ifndef HP_CLIENT_H
#define HP_CLIENT_H

#include "apr-glue/base.h"
#include <apr_getopt.h>
#include <apr_tables.h>
#include <jansson.h>

/* Exit codes. */
enum { HP_CLIENT_DONE = 0, HP_CLIENT_FAILED = 1, HP_CLIENT_DENIED = 2 };

typedef struct {
    apr_pool_t *p;
    const char *program; /* for messages: its name, never what it was called as */
} hp_client_t;

/* Before anything else. */
void hp_client_init(hp_client_t *client, const char *program);
/* Writes one line to stderr and returns `code`. */
int hp_client_fail(const hp_client_t *client, int code, const char *fmt, ...) AG_PRINTF(3, 4);
/* Before the exit: `code`, or HP_CLIENT_FAILED and a line on stderr if not all output could be written. */
int hp_client_finish(const hp_client_t *client, int code);

/* Options of a command: what may stand there, and where it goes. Ends with a row without a name. */
typedef struct {
    const char *name;    /* without dashes */
    char letter;         /* or 0 */
    const char **pvalue; /* the option has a value; or NULL */
    int *pflag;          /* it has none, and is counted here; or NULL: it is accepted and means nothing */
} hp_client_option_t;

/* Reads argv[1..] and leaves what is no option in argv[0..*pargc). `--help` prints `usage`. 1: go on; 0: *pargc is the exit code. */
int hp_client_options(const hp_client_t *client, const hp_client_option_t *options, const char *usage, int *pargc, const char **argv);

/* A running helper. */
typedef struct {
    const char *id;     /* unique on this machine */
    const char *name;   /* the beginning of it, for people */
    const char *folder; /* its directory */
    const char *socket; /* the one for administrators */
    const char *version, *software; /* its own, and Apache's; "unknown" */
    json_int_t pid;     /* of the watchdog; 0: not known */
} hp_client_instance_t;

/* All that take connections from us: elements are hp_client_instance_t. */
apr_array_header_t *hp_client_instances(const hp_client_t *client);
/* The one whose id begins with `wanted`, or the only one if that is NULL. Otherwise says what to do, and returns NULL; *pcount is how many there
 * were to choose from. */
const hp_client_instance_t *hp_client_choose(const hp_client_t *client, const char *wanted, int *pcount);

typedef struct {
    const char *method, *path, *body; /* body: or NULL */
    apr_size_t body_len;
} hp_client_request_t;

typedef struct {
    int status;
    const char *head, *body; /* the head with its last empty line; NUL-terminated both */
    apr_size_t body_len;
} hp_client_reply_t;

/* HP_CLIENT_DONE if there is a reply, whatever it says; else says why, and returns the exit code. */
int hp_client_ask(const hp_client_t *client, const char *socket, const hp_client_request_t *request, hp_client_reply_t *reply);
/* The same, but only a 200 is a reply. */
int hp_client_ask_well(const hp_client_t *client, const char *socket, const hp_client_request_t *request, hp_client_reply_t *reply);
/* The same with the body as JSON; the caller's. */
int hp_client_ask_json(const hp_client_t *client, const char *socket, const hp_client_request_t *request, json_t **pvalue);

#endif
