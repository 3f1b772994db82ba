/* Heads in both directions: what a link's request says to the core, and what the core says of an application's response. */
#ifndef HP_HEAD_H
#define HP_HEAD_H

#include "apr-glue/http_head.h"
#include "apr-glue/link.h"

/* A request's control pairs and the application's pairs; everything points into the bytes that were parsed. NULL where a pair is absent. */
typedef struct {
    const char *group, *app_root, *kind, *startup, *base_uri, *digest, *options;
    apr_int64_t content_length;
    uint32_t author; /* AG_LINK_NO_AUTHOR where the pair is absent */
    int chunked, upgrade, expects, interim;
    const char *pairs; /* the application's: "name\0value\0..." */
    apr_size_t len;
    const char *env;   /* those of them that administrators set */
    apr_size_t env_len;
    int is_head;
} hp_head_t;

/* Length of the prefix of the netstring that a head is ("123:"), and its value; 0: more bytes are needed; -1: it is none. */
int hp_head_prefix(const char *data, apr_size_t len, apr_size_t *pvalue);
/* `pairs` ends with a NUL. APR_EGENERAL when they are not name-value pairs, or a number makes no sense. */
apr_status_t hp_head_parse(hp_head_t *head, const char *pairs, apr_size_t len) AG_MUST_CHECK;

/* The value of the first pair of this name in what hp_head_parse has approved; NULL without one. */
const char *hp_head_pair(const char *pairs, apr_size_t len, const char *name);
/* What its logs elsewhere call the request: Apache's own id (mod_unique_id's UNIQUE_ID), else the one that came with it (X-Request-Id), else NULL. */
const char *hp_head_id(const char *pairs, apr_size_t len);
/* "GET http://host/uri", as the pairs say it, in pool p. */
const char *hp_head_line(const char *pairs, apr_size_t len, apr_pool_t *p);

/* How a body is framed. */
typedef enum { HP_HEAD_NONE, HP_HEAD_LENGTH, HP_HEAD_CHUNKED, HP_HEAD_CLOSE } hp_head_framing_t;

/* 1 if the application tells the server this; names are in lower case. */
int hp_head_tells(const ag_http_head_t *response, const char *name);
#define HP_HEAD_WORK  "!~request-oob-work" /* the process asks for out-of-band work */
#define HP_HEAD_HOLDS "!~holds-thread"     /* of 101: what follows keeps one of the process's threads */

/* How this response is framed on its way from the application. */
hp_head_framing_t hp_head_framing(const ag_http_head_t *response, int is_head);

/* Room that hp_head_write needs for a head of `len` bytes: "a:b\n" becomes "a: b\r\n", and our own fields come on top. */
#define HP_HEAD_ROOM(len) ((len) + 2 * (AG_HTTP_HEAD_FIELDS + 1) + 256)

/* Writes the head as the link's other side gets it, `len` bytes long where it came from: without what ends at this hop or is for the server
 * ("!~..."), framed anew, with our mark (or NULL) and `fields` (our lines, which need room of their own); `closes`: the link ends after it. */
apr_size_t hp_head_write(char *out, const ag_http_head_t *response, hp_head_framing_t framing, int closes, const char *powered_by,
                         const char *fields);

#endif
