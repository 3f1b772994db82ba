/* Messages between our processes, from a sender that may be anyone: the decoder itself, settings, options and what is to be started.
 * The first byte chooses what the rest is read as. */
#include "apr-glue/options.h"
#include "apr-glue/settings.h"
#include "helper/spec.h"
#include <apr_general.h>
#include <apr_strings.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(int holds)
{
    if (!holds)
        abort();
}

/* Any order of gets stays within the message, and a message that went bad stays bad. */
static void read_in_any_order(apr_pool_t *p, const uint8_t *data, size_t size)
{
    size_t norders = size ? data[0] % 16u : 0;
    ag_frame_reader_t in;
    apr_size_t len;
    int bad = 0;

    if (size < 1 + norders)
        return;
    ag_frame_open(&in, p, data + 1 + norders, size - 1 - norders);
    for (size_t i = 1; i <= norders; i++) {
        const char *str;
        const unsigned char *bytes;

        switch (data[i] % 4) {
        case 0:
            ag_frame_get_u32(&in);
            break;
        case 1:
            ag_frame_get_u64(&in);
            break;
        case 2:
            str = ag_frame_get_str(&in);
            demand(!str || strlen(str) <= size);
            break;
        default:
            bytes = ag_frame_get_bytes(&in, &len);
            demand(!len || (bytes >= data && bytes + len <= data + size));
        }
        demand(in.at <= in.end);
        demand(!bad || in.bad);
        bad = in.bad;
    }
    demand(!bad || ag_frame_end(&in) != APR_SUCCESS);
}

typedef void *(*get_fn)(ag_frame_reader_t *in);
typedef void (*put_fn)(ag_frame_t *f, const void *object);

static void *get_settings(ag_frame_reader_t *in)
{
    return ag_settings_get(in);
}

static void put_settings(ag_frame_t *f, const void *object)
{
    ag_settings_put(f, object);
}

static void *get_options(ag_frame_reader_t *in)
{
    return ag_options_get(in);
}

static void put_options(ag_frame_t *f, const void *object)
{
    ag_options_put(f, object);
}

static void *get_spec(ag_frame_reader_t *in)
{
    return hp_spec_get(in);
}

static void put_spec(ag_frame_t *f, const void *object)
{
    hp_spec_put(f, object);
}

/* What was read can be written, and reading that gives the same again. */
static void round_trip(apr_pool_t *p, const uint8_t *data, size_t size, get_fn get, put_fn put)
{
    ag_frame_reader_t in;
    ag_frame_t *first, *second;
    const char *one, *two;
    apr_size_t one_len, two_len;
    void *object;

    ag_frame_open(&in, p, data, size);
    object = get(&in);
    if (ag_frame_end(&in) != APR_SUCCESS)
        return;
    demand(object != NULL);
    put(first = ag_frame_create(p, 1), object);
    one = ag_frame_data(first, &one_len);
    demand(ag_frame_open(&in, p, one, one_len) == 1);
    object = get(&in);
    demand(one_len > AG_FRAME_MAX || ag_frame_end(&in) == APR_SUCCESS);
    if (one_len > AG_FRAME_MAX)
        return;
    put(second = ag_frame_create(p, 1), object);
    two = ag_frame_data(second, &two_len);
    demand(one_len == two_len && memcmp(one, two, one_len) == 0);
}

/* A valid message to start from: `selector` is what LLVMFuzzerTestOneInput looks at. */
static void seed(const char *dir, char selector, apr_pool_t *p, put_fn put, const void *object)
{
    ag_frame_t *f = ag_frame_create(p, 1);
    apr_size_t len;
    const char *data;
    FILE *file = fopen(apr_psprintf(p, "%s/valid-%d", dir, selector), "wb");

    put(f, object);
    data = ag_frame_data(f, &len);
    demand(file && fputc(selector, file) != EOF && fwrite(data, len, 1, file) == 1 && fclose(file) == 0);
}

static void seeds(const char *dir)
{
    apr_pool_t *p;
    ag_settings_t settings = {.build_id = "0123456789abcdef",
                              .registry_dir = "/run/x", .data_dir = "/d", .web_user = "www-data", .default_user = "nobody"};
    hp_spec_t spec = {.group = "g", .app_root = "/srv/a", .kind = "python", .startup_file = "passenger_wsgi.py", .base_uri = "/b"};
    ag_settings_grant_t grant = {"user", "games", "/srv"};

    demand(apr_pool_create(&p, NULL) == APR_SUCCESS);
    settings.grants = apr_array_make(p, 1, sizeof(grant));
    APR_ARRAY_PUSH(settings.grants, ag_settings_grant_t) = grant;
    ag_options_t *options = ag_options_create(p);
    demand(!ag_options_set(p, options, &ag_options_rows[AG_OPTIONS_ROW_PassengerMinInstances], "3"));
    demand(!ag_options_set(p, options, &ag_options_rows[AG_OPTIONS_ROW_PassengerAppEnv], "development"));
    spec.options = options;
    seed(dir, 1, p, put_settings, &settings);
    seed(dir, 2, p, put_options, options);
    seed(dir, 3, p, put_spec, &spec);
    apr_pool_destroy(p);
}

/* With FUZZ_SEEDS=<folder> the program writes valid messages there and ends. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *dir = getenv("FUZZ_SEEDS");

    (void)argc;
    (void)argv;
    demand(apr_initialize() == APR_SUCCESS);
    if (dir) {
        seeds(dir);
        exit(0);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *p;

    if (!size || apr_pool_create(&p, NULL) != APR_SUCCESS)
        return 0;
    switch (data[0] % 4) {
    case 0:
        read_in_any_order(p, data + 1, size - 1);
        break;
    case 1:
        round_trip(p, data + 1, size - 1, get_settings, put_settings);
        break;
    case 2:
        round_trip(p, data + 1, size - 1, get_options, put_options);
        break;
    default:
        round_trip(p, data + 1, size - 1, get_spec, put_spec);
    }
    apr_pool_destroy(p);
    return 0;
}
