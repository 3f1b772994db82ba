#include "helper/responder.h"
#include "apr-glue/memory.h"
#include "helper/php.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

apr_status_t hp_responder_open(hp_exchange_t *r, char **pbytes, apr_size_t *plen, const char **preason)
{
    const char *pairs = r->waiter.work.pairs;
    apr_size_t len = r->waiter.work.pairs_len;
    char *bytes;

    if (hp_php_is(r->process->spec) && !hp_php_may_run(r->process->spec, pairs, len)) {
        *preason = "its script is not a PHP file in the application's public folder";
        return APR_EACCES;
    }
    r->fcgi = 1;
    r->process->keeps |= hp_php_is(r->process->spec);
    memset(&r->records, 0, sizeof r->records);
    r->stdin_left = 0;
    r->stdin_ended = 0;
    bytes = malloc(HP_FCGI_OPEN_ROOM(len));
    if (!bytes)
        ag_memory_out();
    *plen = hp_fcgi_open(bytes, pairs, len, r->chunked && r->buffered ? r->body_total : -1);
    *pbytes = bytes;
    return APR_SUCCESS;
}

/* A record's header, as far as the socket takes it. */
static apr_status_t send_header(hp_exchange_t *r, const char header[HP_FCGI_HEADER], int more)
{
    ssize_t n = send(r->link->fd, header, HP_FCGI_HEADER, MSG_NOSIGNAL | (more ? MSG_MORE : 0));

    if (n < 0)
        return errno;
    if (n == HP_FCGI_HEADER)
        return APR_SUCCESS;
    free(r->unsent);
    r->unsent_at = 0;
    r->unsent_len = HP_FCGI_HEADER - (apr_size_t)n;
    r->unsent = malloc(r->unsent_len);
    if (!r->unsent)
        ag_memory_out();
    memcpy(r->unsent, header + n, r->unsent_len);
    return EAGAIN;
}

apr_status_t hp_responder_send(hp_exchange_t *r)
{
    char header[HP_FCGI_HEADER];
    apr_status_t rv = hp_spool_send_some(&r->up, r->link->fd, &r->stdin_left);

    while (rv == APR_SUCCESS && !r->stdin_ended && (hp_spool_len(&r->up) > 0 || r->body_over)) {
        apr_off_t len = hp_spool_len(&r->up);
        if (len > HP_FCGI_CONTENT_MAX)
            len = HP_FCGI_CONTENT_MAX;
        hp_fcgi_stdin(header, (apr_size_t)len);
        rv = send_header(r, header, len > 0);
        if (rv != APR_SUCCESS && r->unsent_at == r->unsent_len)
            return rv; /* nothing of it went */
        r->stdin_left = len;
        r->stdin_ended = len == 0;
        if (rv == APR_SUCCESS)
            rv = hp_spool_send_some(&r->up, r->link->fd, &r->stdin_left);
    }
    return rv;
}

/* Words for the log come in pieces that need not be lines. */
static void take_words(hp_exchange_t *r, const char *data, apr_size_t len)
{
    while (len > 0) {
        const char *newline = memchr(data, '\n', len);
        apr_size_t n = newline ? (apr_size_t)(newline - data) : len, room = HP_OUTPUT_LINE - r->words_len;
        if (n > room) {
            n = room;
            newline = NULL;
        }
        if (!r->words)
            r->words = malloc(HP_OUTPUT_LINE);
        if (!r->words)
            ag_memory_out();
        memcpy(r->words + r->words_len, data, n);
        r->words_len += n;
        if (newline || r->words_len == HP_OUTPUT_LINE) {
            hp_process_say(r->process, "stderr", r->words, r->words_len, !newline);
            r->words_len = 0;
        }
        n += newline ? 1 : 0;
        data += n;
        len -= n;
    }
}

hp_fcgi_event_t hp_responder_take(hp_responder_take_t *taken, hp_exchange_t *r, char *data, apr_size_t len)
{
    hp_fcgi_event_t event = HP_FCGI_MORE;
    apr_size_t used = 0, n;
    const char *piece;

    memset(taken, 0, sizeof *taken);
    for (; len > 0 && event != HP_FCGI_END && event != HP_FCGI_BAD; data += used, len -= used) {
        event = hp_fcgi_next(&r->records, data, len, &used, &piece, &n);
        if (event == HP_FCGI_STDERR)
            take_words(r, piece, n);
        if (event != HP_FCGI_STDOUT)
            continue;
        if (!taken->data)
            taken->data = data + (piece - data);
        else
            memmove(taken->data + taken->len, piece, n);
        taken->len += n;
    }
    taken->surplus = len;
    return event == HP_FCGI_END || event == HP_FCGI_BAD ? event : HP_FCGI_MORE;
}
