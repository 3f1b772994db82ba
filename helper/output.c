#include "helper/output.h"
#include "apr-glue/memory.h"
#include "apr-glue/sock.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_AT_ONCE 16384
#define LAST_READS   64 /* 1 MiB: as much as a pipe can be made to hold */

static void cut(hp_output_t *output, const char *data, apr_size_t len)
{
    while (len > 0) {
        const char *newline = memchr(data, '\n', len);
        apr_size_t n = newline ? (apr_size_t)(newline - data) : len, room = HP_OUTPUT_LINE - output->line_len;
        if (n > room) {
            n = room;
            newline = NULL;
        }
        if (newline && output->line_len == 0) {
            output->take(output->baton, data, n, 0);
        } else {
            if (!output->line)
                output->line = apr_palloc(output->p, HP_OUTPUT_LINE);
            memcpy(output->line + output->line_len, data, n);
            output->line_len += n;
            if (newline || output->line_len == HP_OUTPUT_LINE) {
                output->take(output->baton, output->line, output->line_len, !newline);
                output->line_len = 0;
            }
        }
        n += newline ? 1 : 0;
        data += n;
        len -= n;
    }
}

/* One read; 0 when there is nothing more to come. */
static int read_once(hp_output_t *output)
{
    char buf[READ_AT_ONCE];
    ssize_t n;

    errno = 0; /* the end of a file leaves it alone, and our caller asks */
    n = read(output->fd, buf, sizeof buf);
    if (n > 0)
        cut(output, buf, (apr_size_t)n);
    return n > 0 || (n < 0 && errno == EINTR);
}

static void on_readable(void *baton, int events)
{
    hp_output_t *output = baton;

    (void)events;
    if (!read_once(output) && errno != EAGAIN)
        ag_loop_io_destroy(&output->io); /* it closed its output; that is no reason to end it */
}

void hp_output_open(hp_output_t *output, ag_loop_t *loop, int fd, hp_output_cb_t take, void *baton, apr_pool_t *p)
{
    output->p = p;
    output->fd = fd;
    output->take = take;
    output->baton = baton;
    ag_sock_nonblock(fd, 1);
    output->io = ag_loop_io_create(loop, fd, AG_LOOP_READ, on_readable, output);
}

void hp_output_drain(hp_output_t *output)
{
    for (int i = 0; i < LAST_READS && output->io && read_once(output); i++)
        continue;
    if (output->line_len > 0)
        output->take(output->baton, output->line, output->line_len, 0);
    output->line_len = 0;
}

void hp_output_close(hp_output_t *output)
{
    ag_loop_io_destroy(&output->io);
    if (output->fd >= 0)
        close(output->fd);
    output->fd = -1;
}

void hp_output_keep(hp_output_text_t *text, const char *line, apr_size_t len)
{
    if (text->len + len + 1 > HP_OUTPUT_KEEP)
        return;
    text->bytes = realloc(text->bytes, text->len + len + 2);
    if (!text->bytes)
        ag_memory_out();
    memcpy(text->bytes + text->len, line, len);
    text->bytes[text->len + len] = '\n';
    text->len += len + 1;
    text->bytes[text->len] = '\0';
}

void hp_output_forget(hp_output_text_t *text)
{
    free(text->bytes);
    text->bytes = NULL;
    text->len = 0;
}
