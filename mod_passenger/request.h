/* A request as the core takes it: control pairs, then what the application gets to see (apr-glue/link.h). */
#ifndef MP_REQUEST_H
#define MP_REQUEST_H

#include "mod_passenger/conf.h"
#include "mod_passenger/map.h"

#include <sys/uio.h>

typedef struct {
    mp_conf_wire_t wire; /* the options; made by whoever builds the request, before anything else */
    const char *upgrade; /* the protocol that is asked for, or NULL; set by the caller */
    int expects;         /* the client waits to be told to send its body; set by the caller */
    const char *pairs;   /* the application's */
    apr_size_t pairs_len;
    apr_size_t env_at;   /* where those begin that administrators set; 0: none */
    const char *control; /* the netstring's length and the control pairs */
    apr_size_t control_len;
} mp_request_t;

/* Builds the application's pairs. `body` is the length of the body, -1 without one, -2 for one of unknown length. OK, or
 * HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE. */
int mp_request_build(mp_request_t *req, request_rec *r, const mp_map_app_t *app, apr_int64_t body);

#define MP_REQUEST_NO_BODY   (-1)
#define MP_REQUEST_ANY_BODY  (-2)

/* Builds what goes before them, for a link that knows the request's options or not. OK, or HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE. */
int mp_request_address(mp_request_t *req, request_rec *r, const mp_map_app_t *app, apr_int64_t body, int with_options);

#endif
