/* What administrators may ask the core, who may ask it, and the answer: an HTTP request and response without their connection. */
#ifndef HP_ENDPOINT_H
#define HP_ENDPOINT_H

#include "helper/status.h"

#define HP_ENDPOINT_BODY_MAX (128 * 1024)

/* Where answers come from. */
typedef struct {
    hp_pool_t *pool;
    const hp_conn_server_t *server;
    apr_time_t started; /* of the core, by ag_loop_now */
} hp_endpoint_t;

typedef struct {
    const char *method, *target; /* as sent, NUL-terminated */
    const char *body;
    apr_size_t body_len; /* <= HP_ENDPOINT_BODY_MAX */
    uid_t uid;           /* who asks */
} hp_endpoint_request_t;

typedef struct {
    int status;
    const char *type;
    const char *allow; /* the method that is allowed, or NULL */
    char *body;        /* malloc'd, the receiver's */
    apr_size_t len;
} hp_endpoint_answer_t;

/* Answers. Memory that is needed for a moment comes from ptemp. */
void hp_endpoint_answer(const hp_endpoint_t *endpoint, const hp_endpoint_request_t *request, hp_endpoint_answer_t *answer, apr_pool_t *ptemp);

/* An answer that says, as JSON, why there is no other. `message` is plain ASCII. */
void hp_endpoint_refuse(hp_endpoint_answer_t *answer, int status, const char *message);

#endif
