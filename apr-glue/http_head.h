/* The head of an HTTP/1.x message, as an application, the core or an administrator's tool wrote it: parsed in place, within limits, trusted in
 * nothing. */
#ifndef AG_HTTP_HEAD_H
#define AG_HTTP_HEAD_H

#include "apr-glue/base.h"

#define AG_HTTP_HEAD_MAX       (256 * 1024) /* bytes of a whole head */
#define AG_HTTP_HEAD_FIELD_MAX (64 * 1024)  /* bytes of one field line */
#define AG_HTTP_HEAD_FIELDS    500

/* Both point into the parsed bytes; a value is trimmed of blanks at both ends and not NUL-terminated. */
typedef struct {
    const char *name, *value;
    apr_size_t name_len, value_len;
} ag_http_head_field_t;

typedef struct {
    int status;              /* 100 to 599; 0 for a request */
    const char *reason;      /* as it was sent; may be empty */
    apr_size_t reason_len;
    const char *method, *target; /* of a request: a token, and printable ASCII without blanks */
    apr_size_t method_len, target_len;
    int minor;               /* HTTP/1.minor */
    int chunked;             /* Transfer-Encoding: chunked */
    int close;               /* the sender will close: Connection: close, or HTTP/1.0 without keep-alive */
    int upgrade;             /* Connection: upgrade */
    int named;               /* Connection names fields that end at this hop, too (hop.h) */
    apr_int64_t content_length; /* -1: absent */
    int nfields;
    ag_http_head_field_t fields[AG_HTTP_HEAD_FIELDS];
} ag_http_head_t;

/* Parses the head at the start of data[0..len). APR_SUCCESS: *phead_len is its length with the empty line. APR_INCOMPLETE: more bytes are
 * needed. APR_EGENERAL: never a head; *preason is a sentence for the log ("field of 70000 bytes, the limit is 65536"). Refused are: another
 * protocol, a status outside 100 to 599, control characters but HTAB in values or the reason, bare CR, obs-fold (RFC 9112 5.2), names that
 * are no token, Transfer-Encoding other than exactly "chunked", Transfer-Encoding with Content-Length, Content-Length twice or not a plain
 * decimal number (RFC 9112 6.3), and what exceeds the limits. Line ends are CRLF or LF. */
apr_status_t ag_http_head_parse(ag_http_head_t *head, const char *data, apr_size_t len, apr_size_t *phead_len, const char **preason)
    AG_MUST_CHECK;

/* The same for a request. Without a body's length in its head it has none. */
apr_status_t ag_http_head_parse_request(ag_http_head_t *head, const char *data, apr_size_t len, apr_size_t *phead_len, const char **preason)
    AG_MUST_CHECK;

/* The same for a head without a first line, as CGI programs write it; status is 0, and close only what Connection says. */
apr_status_t ag_http_head_parse_fields(ag_http_head_t *head, const char *data, apr_size_t len, apr_size_t *phead_len, const char **preason)
    AG_MUST_CHECK;

/* 1 if the field's name is `name` (lower case expected), without regard to case. */
int ag_http_head_is(const ag_http_head_field_t *field, const char *name);

/* 1 if there is a field of that name. */
int ag_http_head_has(const ag_http_head_t *head, const char *name);

/* 1 if Connection names the field, so that it ends at this hop. */
int ag_http_head_named(const ag_http_head_t *head, const ag_http_head_field_t *field);

/* 1 for fields that always end at this hop: Connection, Keep-Alive, Proxy-Connection, Transfer-Encoding, TE, Trailer, Upgrade (RFC 9110 7.6.1). */
int ag_http_head_hop_by_hop(const ag_http_head_field_t *field);

/* 1 if a response with this status, to HEAD or not, has no body (RFC 9110 6.4.1). */
int ag_http_head_bodyless(int status, int is_head);

#endif
