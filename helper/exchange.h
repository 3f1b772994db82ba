/* One request and its response, between a link and an application's process: what is known of it, and how it ends. */
#ifndef HP_EXCHANGE_H
#define HP_EXCHANGE_H

#include "apr-glue/chunk.h"
#include "helper/app_link.h"
#include "helper/conn.h"
#include "helper/fcgi.h"
#include "helper/group.h"
#include "helper/head.h"

#define HP_EXCHANGE_TRIES 10 /* each takes a dead process or connection out of the way */

typedef enum {
    HP_EXCHANGE_RECEIVING, /* the body, before a process is asked for */
    HP_EXCHANGE_WAITING,   /* for a process */
    HP_EXCHANGE_SERVING,
    HP_EXCHANGE_OVER       /* answered; the object is about to go */
} hp_exchange_state_t;

typedef struct {
    hp_queue_waiter_t waiter; /* first: the group hands it back; its pairs are allocated with the exchange */
    hp_context_t *ctx;
    hp_conn_t *conn; /* NULL: the client is gone */
    hp_group_t *group;
    hp_app_link_t *link;
    hp_process_t *process;
    hp_exchange_state_t state;
    int tries, in_begin, freed;
    int limit;   /* PassengerMaxRequestTime, seconds; 0: none */
    ag_loop_timer_t *limit_timer, *link_timer; /* NULL until needed */
    apr_time_t short_since; /* when no connection could be made for want of something of ours; 0: it could */
    apr_time_t asked_at;   /* when a process was first asked for; 0: not yet, or nobody wants to know */
    ag_marks_told_t told;
    int overdue; /* the limit has passed, the client has been told; the application is given a moment to notice that no more of the body comes */

    /* What is sent to the application: upload.h. */
    apr_size_t fields_len; /* of its pairs, those that are the request's own; the administrators' come after them */
    int is_head, chunked, buffered, had_body;
    apr_int64_t body_left;  /* on the link; of no meaning when chunked */
    apr_int64_t body_total; /* so far, without framing */
    int body_over;          /* all of it has come */
    int expects;            /* the client waits to be told to send it */
    int interim;            /* it can use interim responses */
    apr_off_t interim_len;  /* bytes of those so far */
    int framed;             /* it is sent in chunks: `up` holds it so, as soon as the head is on its way */
    ag_chunk_t body_chunks;
    const char *inline_body; /* all of it, in the link's buffer; during begin only */
    apr_size_t inline_len;
    char *unsent; /* rest of the head */
    apr_size_t unsent_at, unsent_len;
    hp_spool_t up;
    int shut; /* our sending side is closed, to show where the body ends */

    /* Of an application that speaks FastCGI: responder.h. */
    int fcgi;
    hp_fcgi_reader_t records;
    apr_off_t stdin_left; /* of the record that is being sent */
    int stdin_ended;
    char *words; /* the beginning of a line for the log */
    apr_size_t words_len;
    int served;            /* the client has all of the response; the application has not said that it is ready for the next */
    apr_size_t surplus;    /* bytes beyond the response's length */

    /* What comes back: response.h. */
    char *cookie; /* template of the one for sticky sessions, or NULL */
    char *head; /* the beginning of one that did not come at once */
    apr_size_t head_len;
    int got_bytes, begun, app_closes;
    hp_head_framing_t framing;
    apr_int64_t left;
    ag_chunk_t chunks;
    ag_loop_timer_t *timer; /* of patience, or of the process's end; NULL until needed */
    apr_time_t paused_at;   /* 0: not paused */
    apr_interval_time_t patience;
    int to_disk, at_end;
    int bulk;           /* its body need not be read to be passed on */
    int delivers;       /* it may name a file in place of its body */
    int delivered;      /* it has: what comes of a body is dropped */
    apr_size_t dropped;

    /* After 101: tunnel.h. */
    int upgrade; /* the client has asked for another protocol */
    int tunnel;  /* ... and the application has agreed */
    int uncut;   /* PassengerAbortWebsocketsOnProcessShutdown off */
    apr_interval_time_t idle_limit; /* PassengerWebSocketIdleTimeout; 0: none */
    int client_ended, app_ended;    /* nothing more comes from there */
    int app_deaf;                   /* nothing more gets there */
    int cut;                        /* it is to end in the loop's next round */
    apr_time_t moved_at;            /* when a byte came last, from either side */
    ag_loop_timer_t *tunnel_timer;  /* NULL until needed */
} hp_exchange_t;

/* The request that `head` describes; its pairs are copied. */
hp_exchange_t *hp_exchange_create(hp_context_t *ctx, hp_conn_t *conn, const hp_head_t *head);
/* Frees it, or leaves that to begin, if that is at work on it. It must have let go of its process and of the queue. */
void hp_exchange_destroy(hp_exchange_t *r);

/* The process gets the request: its time runs. */
void hp_exchange_start(hp_exchange_t *r);
/* Asks the group for a process. The answer may come at once. */
void hp_exchange_submit(hp_exchange_t *r);
/* If the request was surely not delivered, another connection, maybe another process, may have it: then 1. */
int hp_exchange_again(hp_exchange_t *r, int unreachable) AG_MUST_CHECK;
/* Lets go of the process. A request may come and be served inside. */
void hp_exchange_leave(hp_exchange_t *r, int keep_link, int broken);

/* Its id for log lines, or NULL. */
const char *hp_exchange_id(const hp_exchange_t *r);
/* Tells whoever logs the request how far it has come; before anything of its response is written. Cheap where nobody asks. */
void hp_exchange_tell(hp_exchange_t *r);

/* 1 if nothing that has come of the request waits to be sent to the application. */
int hp_exchange_sent(const hp_exchange_t *r);

/* -- the ends; none returns with `r` still there -- */

/* Answers with a page. */
void hp_exchange_answer(hp_exchange_t *r, const hp_report_t *report, int friendly);
/* Logs what happened, and answers with a page. */
void hp_exchange_error(hp_exchange_t *r, int status, const char *title, const char *sentence);
/* The application failed after it had taken the request: 502 if nothing has been passed on, else an end that looks broken. */
void hp_exchange_fail(hp_exchange_t *r, const char *sentence, int unreachable);
/* The application's response is complete, and followed by `surplus` bytes. */
void hp_exchange_complete(hp_exchange_t *r, apr_size_t surplus);
/* Nobody waits for the response. */
void hp_exchange_abandon(hp_exchange_t *r);

#endif
