/* The process that opens the files which an application names in its responses (X-Sendfile, X-Accel-Redirect), as the application's user and nobody
 * else: what that user may not read, nobody reads for the application. */
#ifndef HP_PORTER_H
#define HP_PORTER_H

#include "apr-glue/base.h"
#include <apr_tables.h>

/* Where files may lie, and what they are called. */
typedef struct {
    const char *app_root, *user;        /* absolute; what the user is called in sentences */
    const apr_array_header_t *folders;  /* of const char *, absolute, beside the application's own */
    const apr_array_header_t *mappings; /* of const char *, "uri folder", absolute too: names for X-Accel-Redirect */
} hp_porter_places_t;

/* A question is HP_PORTER_PATH or HP_PORTER_URI and a name, on a connection of its own, whose half is then closed. A path is absolute, or relative to
 * the application's folder, and taken as it is. A URI is percent-decoded, without its query; of the mappings the one with the longest URI that
 * it begins with says where it leads. The answer is one of the last four, and then, but for the first, a sentence. With the first comes the
 * file's descriptor, open for reading. */
#define HP_PORTER_PATH    'p'
#define HP_PORTER_URI     'u'
#define HP_PORTER_OPEN    '+'
#define HP_PORTER_MISSING '?'
#define HP_PORTER_REFUSED '-'
#define HP_PORTER_FAILED  '!'

#define HP_PORTER_NAME_MAX   4096 /* bytes of a question, without the first; what is longer is missing */
#define HP_PORTER_ANSWER_MAX 2048

/* Speaks the handshake of a loader on descriptors 0 and 1, then answers on connections to descriptor 3, until the end of descriptor 0 or SIGTERM.
 * What is opened is a regular file, and where it really is (whatever links led there) is below one of the folders, as they are then. Waits as long as
 * the file system does, but never for a pipe or device. */
void hp_porter_run(const hp_porter_places_t *places) __attribute__((noreturn));

#endif
