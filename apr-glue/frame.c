#include "apr-glue/frame.h"
#include <apr_strings.h>
#include <string.h>

#define NO_STRING 0xffffffffu

struct ag_frame_t {
    apr_pool_t *p;
    char *data;
    apr_size_t len, size;
};

static void put(ag_frame_t *f, const void *data, apr_size_t len)
{
    if (f->size - f->len < len) {
        apr_size_t size = f->size * 2 + len;
        char *grown = apr_palloc(f->p, size);
        memcpy(grown, f->data, f->len);
        f->data = grown;
        f->size = size;
    }
    if (len)
        memcpy(f->data + f->len, data, len);
    f->len += len;
}

ag_frame_t *ag_frame_create(apr_pool_t *p, uint32_t type)
{
    ag_frame_t *f = apr_pcalloc(p, sizeof *f);

    f->p = p;
    f->size = 256;
    f->data = apr_palloc(p, f->size);
    ag_frame_put_u32(f, type);
    return f;
}

void ag_frame_put_u32(ag_frame_t *f, uint32_t v)
{
    unsigned char b[4] = {(unsigned char)(v >> 24), (unsigned char)(v >> 16), (unsigned char)(v >> 8), (unsigned char)v};

    put(f, b, sizeof b);
}

void ag_frame_put_u64(ag_frame_t *f, uint64_t v)
{
    ag_frame_put_u32(f, (uint32_t)(v >> 32));
    ag_frame_put_u32(f, (uint32_t)v);
}

void ag_frame_put_str(ag_frame_t *f, const char *value)
{
    if (value)
        ag_frame_put_bytes(f, value, strlen(value));
    else
        ag_frame_put_u32(f, NO_STRING);
}

void ag_frame_put_bytes(ag_frame_t *f, const void *data, apr_size_t len)
{
    assert(len < NO_STRING);
    ag_frame_put_u32(f, (uint32_t)len);
    put(f, data, len);
}

const char *ag_frame_data(const ag_frame_t *f, apr_size_t *plen)
{
    *plen = f->len;
    return f->data;
}

uint32_t ag_frame_open(ag_frame_reader_t *in, apr_pool_t *p, const void *data, apr_size_t len)
{
    in->at = data;
    in->end = in->at + len;
    in->p = p;
    in->bad = len > AG_FRAME_MAX;
    return ag_frame_get_u32(in);
}

/* The next `len` bytes, or NULL when the message is not that long. */
static const unsigned char *take(ag_frame_reader_t *in, apr_size_t len)
{
    const unsigned char *at = in->at;

    if (in->bad || (apr_size_t)(in->end - in->at) < len) {
        in->bad = 1;
        return NULL;
    }
    in->at += len;
    return at;
}

uint32_t ag_frame_get_u32(ag_frame_reader_t *in)
{
    const unsigned char *b = take(in, 4);

    return b ? (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3] : 0;
}

uint64_t ag_frame_get_u64(ag_frame_reader_t *in)
{
    uint64_t high = ag_frame_get_u32(in);

    return high << 32 | ag_frame_get_u32(in);
}

const char *ag_frame_get_str(ag_frame_reader_t *in)
{
    uint32_t len = ag_frame_get_u32(in);
    const unsigned char *b;

    if (in->bad || len == NO_STRING)
        return NULL;
    b = take(in, len);
    if (!b)
        return NULL;
    if (memchr(b, '\0', len)) {
        in->bad = 1;
        return NULL;
    }
    return apr_pstrmemdup(in->p, (const char *)b, len);
}

const void *ag_frame_get_bytes(ag_frame_reader_t *in, apr_size_t *plen)
{
    uint32_t len = ag_frame_get_u32(in);
    const unsigned char *b = take(in, len);

    *plen = b ? len : 0;
    return b;
}

apr_status_t ag_frame_end(ag_frame_reader_t *in)
{
    return in->bad || in->at != in->end ? APR_EGENERAL : APR_SUCCESS;
}
