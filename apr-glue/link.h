/* The contract between the module and the core: what travels on a link. Both sides include this; neither sees the other.
 *
 * A link is a stream on the core's unix socket, used for one request at a time and kept. The first bytes from the client side are
 * the hello line; a peer that starts with a digit speaks plain SCGI and gets no hello.
 *
 *   module: PASSENGER/1 <build id> <configuration generation> <core id> times\n
 *   core:   PASSENGER/1 <build id> <core id> <slot> <serial>\n
 *                                                         sent at once on reading the hello; the module need not wait before it writes
 *   core:   PASSENGER/1 mismatch\n                        and closes: another protocol; Apache must be restarted
 * Slot and serial say where the core marks that it has begun to send the link's request to an application (apr-glue/marks.h); the descriptor of
 * those marks comes with the line (SCM_RIGHTS), unless the module's line named this core ("-" names none). "times" asks for what they tell besides
 * of the link's requests (ag_marks_told_t). Either side may leave its last words out.
 * Builds may differ: during an upgrade, children of the old module meet the new core.
 *
 * A request is SCGI's (https://python.ca/scgi/protocol.txt): "<length>:" pairs "," body, each pair "name\0value\0".
 * CONTENT_LENGTH and SCGI come first, as SCGI demands; then control pairs, whose names start with '!'; then the pairs of the
 * application, which the core passes on byte for byte. CONTENT_LENGTH there is the length of the body on the link, "0" without one or
 * when the body is chunked (then it is framed as in RFC 9112 section 7.1, without extensions or trailers).
 *
 * A response is an HTTP/1.1 head (status line, fields, empty line) and a body framed by Content-Length or, with
 * Transfer-Encoding: chunked, in chunks; no body follows 1xx, 204, 304 or a request with method HEAD. The core sends no 1xx but 101; 100 to a
 * request with AG_LINK_EXPECT, at most one: the module need not send the body before, and does not if another answer comes instead; and to a request
 * with AG_LINK_INTERIM what the application sends of others (103 Early Hints), of which AG_LINK_INTERIM_MAX bytes at most, before its response.
 * A link closed before the end of the response means that the response is broken, and must look broken to the client.
 *
 * 101 comes only to a request with AG_LINK_UPGRADE, which has no body. From then on the link carries bytes of another protocol both ways. Either
 * side ends its half by shutting it down, and the other half goes on; the link is not used again. Until the head of the response is there the
 * module sends nothing that follows the request: after any other response that is the client's next request.
 * When the client is gone while the response is awaited the module shuts down its sending side: a request that still waits is dropped,
 * one that is being served goes on.
 * A response with AG_LINK_FILE has no body on the link. The field's value is a status, a blank and the last part of a file's name. With 200 the body
 * is that file, a regular one, open for reading, whose descriptor comes with the head's first bytes (SCM_RIGHTS); other statuses are those to
 * answer with instead. It comes only where the options allow it, and on links that began with the hello.
 */
#ifndef AG_LINK_H
#define AG_LINK_H

#include <stdint.h>

#define AG_LINK_PROTOCOL "PASSENGER/1"

/* The largest header block of a request, bytes; what is larger is answered 431 by the module. */
#define AG_LINK_MAX_HEAD (256 * 1024)

/* Control pairs. Flags are present with value "1", or absent. */
#define AG_LINK_GROUP "!g"        /* name of the application's group */
#define AG_LINK_APP_ROOT "!r"     /* absolute path */
#define AG_LINK_KIND "!k"         /* row of helper/kind.def: "python", ... */
#define AG_LINK_STARTUP "!s"      /* startup file, relative to the application's root or absolute */
#define AG_LINK_BASE_URI "!b"     /* "" at the root */
#define AG_LINK_DIGEST "!d"       /* 16 hex digits: which options; see AG_LINK_OPTIONS */
#define AG_LINK_OPTIONS "!o"      /* base64 of the options' wire form; sent until a response has come on this link for this digest */
#define AG_LINK_CHUNKED "!c"      /* flag: the body is chunked on the link */
#define AG_LINK_AUTHOR "!a"       /* decimal: the user whose .htaccess file, or link, says something about the application; absent: nobody's */
#define AG_LINK_UPGRADE "!u"      /* flag: the client asks to go on in the protocol of the application's pair HTTP_UPGRADE */
#define AG_LINK_EXPECT "!x"       /* flag: the client waits to be told to send the body (Expect: 100-continue) */
#define AG_LINK_INTERIM "!i"      /* flag: interim responses of the application's (1xx but 100 and 101) are of use */
#define AG_LINK_ENV_AT "!e"       /* decimal: bytes of the application's pairs before those that administrators set (SetEnv); absent: none */

/* Bytes of interim responses that the core passes on for one request. */
#define AG_LINK_INTERIM_MAX (64 * 1024)

/* No user. */
#define AG_LINK_NO_AUTHOR ((uint32_t)-1)

/* Field of a response by which the core refuses a digest that it does not know (status 421): the module sends the request again, with
 * options, if it can. */
#define AG_LINK_NEED_OPTIONS "Passenger-Need-Options"

/* Field of a 503 by which a core that ends hands back what no application has got: the module sends the request again, once, on another link,
 * if it can. */
#define AG_LINK_TRY_AGAIN "Passenger-Try-Again"

/* Field of a response whose body is a file. */
#define AG_LINK_FILE       "Passenger-File"
#define AG_LINK_FILE_FIELD "passenger-file" /* as ag_http_head_is wants it */

#endif
