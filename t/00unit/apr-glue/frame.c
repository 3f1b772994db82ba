#include "apr-glue/frame.c"
#include "t/lib/tap.h"
#include <apr_general.h>

static void round_trip(apr_pool_t *p)
{
    ag_frame_t *f = ag_frame_create(p, 0x12345678);
    ag_frame_reader_t in;
    apr_size_t len;
    const char *data, *bytes;

    ag_frame_put_u32(f, 0);
    ag_frame_put_u32(f, UINT32_MAX);
    ag_frame_put_u64(f, UINT64_MAX - 1);
    ag_frame_put_str(f, "text");
    ag_frame_put_str(f, "");
    ag_frame_put_str(f, NULL);
    ag_frame_put_bytes(f, "a\0b", 3);
    ag_frame_put_bytes(f, NULL, 0);
    data = ag_frame_data(f, &len);
    is_int(ag_frame_open(&in, p, data, len), 0x12345678, "the type comes back");
    is_int(ag_frame_get_u32(&in), 0, "a number");
    is_int(ag_frame_get_u32(&in), UINT32_MAX, "the largest number");
    ok(ag_frame_get_u64(&in) == UINT64_MAX - 1, "a long number");
    is_str(ag_frame_get_str(&in), "text", "a string");
    is_str(ag_frame_get_str(&in), "", "an empty string");
    is_str(ag_frame_get_str(&in), NULL, "no string is another thing than an empty one");
    bytes = ag_frame_get_bytes(&in, &len);
    ok(len == 3 && memcmp(bytes, "a\0b", 3) == 0, "bytes");
    ag_frame_get_bytes(&in, &len);
    is_int((long long)len, 0, "no bytes");
    is_int(ag_frame_end(&in), APR_SUCCESS, "and that is all");
}

static void growth(apr_pool_t *p)
{
    ag_frame_t *f = ag_frame_create(p, 1);
    char *large = apr_pcalloc(p, 100000);
    ag_frame_reader_t in;
    apr_size_t len, got;
    const char *data;

    for (int i = 0; i < 1000; i++)
        ag_frame_put_u32(f, (uint32_t)i);
    ag_frame_put_bytes(f, large, 100000);
    data = ag_frame_data(f, &len);
    is_int((long long)len, 4 + 4000 + 4 + 100000, "a frame grows as it must");
    ag_frame_open(&in, p, data, len);
    for (uint32_t i = 0; i < 1000; i++) {
        if (ag_frame_get_u32(&in) != i)
            ok(0, "number %u", (unsigned)i);
    }
    ag_frame_get_bytes(&in, &got);
    is_int((long long)got, 100000, "... and is read back");
    is_int(ag_frame_end(&in), APR_SUCCESS, "... to its end");
}

static void refusals(apr_pool_t *p)
{
    ag_frame_t *f = ag_frame_create(p, 7);
    char *large = apr_pcalloc(p, AG_FRAME_MAX + 1);
    ag_frame_reader_t in;
    apr_size_t len;
    const char *data;

    ag_frame_put_str(f, "abc");
    data = ag_frame_data(f, &len);
    for (apr_size_t cut = 0; cut < len; cut++) {
        ag_frame_open(&in, p, data, cut);
        is_str(ag_frame_get_str(&in), NULL, "cut at %d: no string", (int)cut);
        is_int(ag_frame_end(&in), APR_EGENERAL, "... and the end says so");
    }
    ag_frame_open(&in, p, data, len);
    is_int(ag_frame_end(&in), APR_EGENERAL, "what is left over is an error");
    ag_frame_open(&in, p, data, len);
    ag_frame_get_u64(&in);
    is_int(ag_frame_get_u32(&in), 0, "nothing is read beyond the end");
    is_int(ag_frame_end(&in), APR_EGENERAL, "... and it stays bad");
    is_int(ag_frame_open(&in, p, large, AG_FRAME_MAX + 1), 0, "a message that is too long is none");

    f = ag_frame_create(p, 7);
    ag_frame_put_bytes(f, "a\0b", 3);
    data = ag_frame_data(f, &len);
    ag_frame_open(&in, p, data, len);
    is_str(ag_frame_get_str(&in), NULL, "a string with a NUL inside is bad");
    is_int(ag_frame_end(&in), APR_EGENERAL, "... and the end says so");
}

int main(void)
{
    apr_pool_t *p;

    apr_initialize();
    apr_pool_create(&p, NULL);
    round_trip(p);
    growth(p);
    refusals(p);
    apr_terminate();
    return done_testing();
}
