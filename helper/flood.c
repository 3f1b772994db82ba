#include "helper/flood.h"
#include "apr-glue/memory.h"
#include <stdlib.h>
#include <string.h>

/* Ten times what a server that answers 2,000 requests a second prints with a line for each, and a ninth of what the core can log (180,000 lines of 80
 * bytes in a second on one processor). What was not used adds up, so that a start may print a lot. */
#define LINES_A_SECOND 20000
#define LINES_MOST     100000
#define BYTES_A_SECOND (8 * 1024 * 1024)
#define BYTES_MOST     (64 * 1024 * 1024)
#define COUNT_EVERY    (apr_time_from_sec(1) / 1000)
#define LAST           50
#define LAST_LEN       1000 /* bytes of each that are kept */

typedef struct {
    long pid;
    apr_size_t len;
    char text[LAST_LEN];
} last_t;

/* Streams come in turns of 16 KiB: one that is flooded would wash away what the other has to say. */
typedef struct hp_flood_stream_t {
    unsigned long left_out;
    last_t last[LAST]; /* a ring */
} stream_t;

static const char *const names[] = {"stdout", "stderr"};

static apr_int64_t more_room(apr_int64_t have, apr_interval_time_t time, apr_int64_t a_second, apr_int64_t most)
{
    apr_int64_t room = have + time * a_second / APR_USEC_PER_SEC;

    return room < most ? room : most;
}

static void keep(hp_flood_t *flood, const ag_record_origin_t *from, const char *line, apr_size_t len)
{
    int which = strcmp(from->stream, names[1]) == 0;
    stream_t *stream = flood->streams[which];
    last_t *last;

    if (!stream) {
        stream = flood->streams[which] = malloc(sizeof *stream);
        if (!stream)
            ag_memory_out();
        stream->left_out = 0;
    }
    last = &stream->last[stream->left_out++ % LAST];
    last->pid = from->pid;
    last->len = len < LAST_LEN ? len : LAST_LEN;
    memcpy(last->text, line, last->len);
}

int hp_flood_takes(hp_flood_t *flood, const ag_record_origin_t *from, const char *line, apr_size_t len, apr_time_t now)
{
    apr_interval_time_t since = now - flood->at;

    if (since >= COUNT_EVERY) {
        if (since > apr_time_from_sec(60))
            since = apr_time_from_sec(60);
        flood->lines = more_room(flood->lines, since, LINES_A_SECOND, LINES_MOST);
        flood->bytes = more_room(flood->bytes, since, BYTES_A_SECOND, BYTES_MOST);
        flood->at = now;
    }
    if (flood->left_out == 0 && flood->lines > 0 && flood->bytes >= (apr_int64_t)len) {
        flood->lines--;
        flood->bytes -= (apr_int64_t)len;
        return 1;
    }
    keep(flood, from, line, len);
    flood->left_out++;
    return 0;
}

static unsigned long first_kept(const stream_t *stream)
{
    return stream->left_out > LAST ? stream->left_out - LAST : 0;
}

void hp_flood_end(hp_flood_t *flood, const hp_flood_end_t *to)
{
    unsigned long lost = 0;

    for (int which = 0; which < 2; which++)
        lost += flood->streams[which] ? first_kept(flood->streams[which]) : 0;
    flood->left_out = 0;
    if (lost > 0)
        to->tell(to->baton, lost);
    for (int which = 0; which < 2; which++) {
        stream_t *stream = flood->streams[which];
        flood->streams[which] = NULL;
        for (unsigned long i = stream ? first_kept(stream) : 0; stream && i < stream->left_out; i++) {
            const last_t *last = &stream->last[i % LAST];
            to->give(to->baton, &(ag_record_origin_t){.pid = last->pid, .stream = names[which]}, last->text, last->len);
        }
        free(stream);
    }
}
