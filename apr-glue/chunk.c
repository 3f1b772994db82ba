#include "apr-glue/chunk.h"

#include <string.h>

#define LINE_MAX_BYTES    (4 * 1024)
#define TRAILER_MAX_BYTES (16 * 1024)
#define SIZE_END          ((apr_uint64_t) 1 << 60)

enum {
    SIZE_FIRST,   /* the first digit of a size */
    SIZE_MORE,    /* further digits, ';' or CR */
    EXTENSION,    /* up to CR */
    SIZE_LF,      /* LF after the size */
    DATA,
    DATA_CR,      /* CR after the data */
    DATA_LF,
    TRAILER_FIRST, /* the first byte of a trailer, or CR of the end */
    TRAILER,      /* up to CR */
    TRAILER_LF,
    END_LF,
    OVER,
    BAD
};

void ag_chunk_init(ag_chunk_t *c)
{
    memset(c, 0, sizeof(*c));
    c->state = SIZE_FIRST;
}

static int hex_digit(char in)
{
    if (in >= '0' && in <= '9')
        return in - '0';
    if (in >= 'a' && in <= 'f')
        return in - 'a' + 10;
    if (in >= 'A' && in <= 'F')
        return in - 'A' + 10;
    return -1;
}

static int size_byte(ag_chunk_t *c, char in)
{
    int digit = hex_digit(in);

    if (digit >= 0) {
        if (c->left >= SIZE_END / 16)
            return BAD;
        c->left = c->left * 16 + (unsigned) digit;
        return SIZE_MORE;
    }
    if (c->state == SIZE_FIRST)
        return BAD;
    if (in == ';')
        return EXTENSION;
    return in == '\r' ? SIZE_LF : BAD;
}

/* A byte of a line that is skipped: an extension or a trailer. */
static int skipped_byte(char in, int same_line, int at_cr)
{
    if (in == '\r')
        return at_cr;
    if ((unsigned char) in < 0x20 && in != '\t')
        return BAD;
    return same_line;
}

/* The state after `in`, which is no payload. */
static int next_state(ag_chunk_t *c, char in)
{
    switch (c->state) {
    case SIZE_FIRST:
    case SIZE_MORE:
        return size_byte(c, in);
    case EXTENSION:
        return skipped_byte(in, EXTENSION, SIZE_LF);
    case SIZE_LF:
        return in != '\n' ? BAD : c->left > 0 ? DATA : TRAILER_FIRST;
    case DATA_CR:
        return in == '\r' ? DATA_LF : BAD;
    case DATA_LF:
        return in == '\n' ? SIZE_FIRST : BAD;
    case TRAILER_FIRST:
        return skipped_byte(in, TRAILER, END_LF);
    case TRAILER:
        return skipped_byte(in, TRAILER, TRAILER_LF);
    case TRAILER_LF:
        return in == '\n' ? TRAILER_FIRST : BAD;
    case END_LF:
        return in == '\n' ? OVER : BAD;
    default:
        return BAD;
    }
}

static int count_byte(ag_chunk_t *c, int next)
{
    if (next == DATA || next == SIZE_FIRST || next == TRAILER_FIRST)
        c->line = 0;
    else if (++c->line > LINE_MAX_BYTES)
        return BAD;
    if (c->state >= TRAILER_FIRST && ++c->trailers > TRAILER_MAX_BYTES)
        return BAD;
    return next;
}

apr_status_t ag_chunk_next(ag_chunk_t *c, const char *in, apr_size_t len, apr_size_t *pused, const char **pdata, apr_size_t *pdata_len)
{
    apr_size_t at = 0;

    *pdata = in;
    *pdata_len = 0;
    while (at < len && c->state != DATA && c->state < OVER) {
        c->state = count_byte(c, next_state(c, in[at]));
        at++;
    }
    if (c->state == DATA && at < len) {
        *pdata = in + at;
        *pdata_len = c->left < len - at ? (apr_size_t) c->left : len - at;
        c->left -= *pdata_len;
        at += *pdata_len;
        if (c->left == 0)
            c->state = DATA_CR;
    }
    *pused = at;
    if (c->state == BAD)
        return APR_EGENERAL;
    return c->state == OVER ? APR_EOF : APR_SUCCESS;
}

apr_size_t ag_chunk_head(char buf[AG_CHUNK_HEAD_MAX], apr_size_t len)
{
    apr_size_t n = 1, at;

    while (n < 16 && len >> (4 * n))
        n++;
    for (at = n; at-- > 0; len >>= 4)
        buf[at] = "0123456789abcdef"[len & 15];
    buf[n] = '\r';
    buf[n + 1] = '\n';
    return n + 2;
}
