/* FastCGI 1.0 records (https://fastcgi-archives.github.io/FastCGI_Specification.html), for a web server that sends one request at a time on a
 * connection: made within bounds, and taken apart in any split, trusting nothing. Pure. */
#ifndef HP_FCGI_H
#define HP_FCGI_H

#include "apr-glue/base.h"

#define HP_FCGI_HEADER      8     /* bytes before a record's content */
#define HP_FCGI_CONTENT_MAX 65528 /* bytes of content in a record of ours: a multiple of 8, so that none needs padding */

/* -- to the application -- */

/* Room for hp_fcgi_open with `len` bytes of pairs. */
#define HP_FCGI_OPEN_ROOM(len) (2 * (len) + 256)

/* Writes what opens a request of the Responder role, on a connection that is to be kept, and returns its length: BEGIN_REQUEST and PARAMS. `pairs`
 * are "name\0value\0...", names not empty; where a name comes twice the application takes the last. What would steer PHP against its configuration
 * is left out. `length` >= 0 is added as CONTENT_LENGTH. */
apr_size_t hp_fcgi_open(char *out, const char *pairs, apr_size_t len, apr_int64_t length);

/* The header of an STDIN record of `len` bytes of content, at most HP_FCGI_CONTENT_MAX; 0: the end of the body. */
void hp_fcgi_stdin(char out[HP_FCGI_HEADER], apr_size_t len);

/* Writes a question that every application answers in its loop, before its first request (FCGI_GET_VALUES). Its length. */
#define HP_FCGI_QUESTION_ROOM 64
apr_size_t hp_fcgi_question(char out[HP_FCGI_QUESTION_ROOM]);

/* -- from the application -- */

typedef enum {
    HP_FCGI_MORE,   /* all of the input was consumed */
    HP_FCGI_STDOUT, /* a piece of the response */
    HP_FCGI_STDERR, /* a piece of what belongs into the log */
    HP_FCGI_END,    /* the response is complete; what follows belongs to nothing */
    HP_FCGI_BAD     /* not FastCGI, or not about this request; `reason` says why */
} hp_fcgi_event_t;

/* State between calls; no memory of its own. All zero at the beginning of a request. */
typedef struct {
    unsigned char header[HP_FCGI_HEADER], end[8];
    unsigned have;    /* bytes of the header */
    unsigned content; /* bytes of the record that are still to come */
    unsigned padding; /* bytes after those */
    unsigned end_have;
    int over;         /* END has been told */
    int status;       /* the application's, when over */
    const char *reason;
} hp_fcgi_reader_t;

/* Looks at in[0..len), consumes *pused bytes, and tells of one thing; a piece lies in `in`. The result never depends on how the input was split. */
hp_fcgi_event_t hp_fcgi_next(hp_fcgi_reader_t *in, const char *data, apr_size_t len, apr_size_t *pused, const char **ppiece, apr_size_t *ppiece_len);

#endif
