/* The loader's half of the start conversation (loaders/PROTOCOL.md), line by line: what a line means, and nothing done about it. */
#ifndef HP_HANDSHAKE_H
#define HP_HANDSHAKE_H

#include "apr-glue/base.h"

typedef enum {
    HP_HANDSHAKE_OUTPUT, /* the line is the application's, for the log */
    HP_HANDSHAKE_NOTHING, /* a control line that needs no answer */
    HP_HANDSHAKE_INTERPRETER, /* the process tells what it is about to run, behind HP_CHOICE_WORD (choice.h) */
    HP_HANDSHAKE_PAGE, HP_HANDSHAKE_PAGE_CONTINUED, /* a part of its page for visitors, behind a word (page.h) */
    HP_HANDSHAKE_GREETED, /* the loader asks for its parameters */
    HP_HANDSHAKE_READY,  /* sockets are known, requests may come */
    HP_HANDSHAKE_ERROR_TEXT, /* the line belongs to the loader's error message */
    HP_HANDSHAKE_BAD     /* not the protocol; `reason` says why */
} hp_handshake_event_t;

/* All in loaders/PROTOCOL.md. Numbers travel to a later core. */
typedef enum { HP_HANDSHAKE_NONE, HP_HANDSHAKE_SESSION, HP_HANDSHAKE_HTTP, HP_HANDSHAKE_FASTCGI } hp_handshake_protocol_t;

#define HP_HANDSHAKE_ADDRESS_MAX 200

/* Start with all zero. */
typedef struct {
    int state;
    const char *reason; /* a sentence, for BAD */
    char address[HP_HANDSHAKE_ADDRESS_MAX]; /* "fd:3", "unix:/path" or "tcp://127.0.0.1:port" */
    hp_handshake_protocol_t protocol;
    int concurrency; /* requests at once; 0: no limit */
    const char *text; /* of INTERPRETER and PAGE: a part of the line */
    apr_size_t text_len;
    int preloader;   /* it serves no requests, but forks processes that do */
} hp_handshake_t;

/* `line` without its newline. After READY every line is OUTPUT. */
hp_handshake_event_t hp_handshake_line(hp_handshake_t *hs, const char *line, apr_size_t len);

#endif
