#include "apr-glue/record.c"
#include "t/lib/tap.h"

static const ag_record_origin_t shop = {"/srv/shop (production)", 123, "stderr", 0};

static ag_record_date_t date;

typedef apr_size_t (*make_t)(char *out, apr_size_t size, const ag_record_t *record, apr_size_t *ptaken);

static const char *request;

static const char *made(make_t make, const ag_record_origin_t *from, const char *text)
{
    static char line[AG_RECORD_LINE];
    ag_record_t record = {.time = apr_time_from_sec(1700000000) + 42, .role = "passenger-core", .pid = 7, .level = AG_LOG_WARN, .request = request,
                          .tag = from ? NULL : "PSG0899", .output = from, .text = text, .len = strlen(text)};
    apr_size_t taken, len;

    ag_record_date(&date, record.time);
    record.date = &date;
    len = make(line, sizeof line, &record, &taken);

    ok(taken == record.len && len == strlen(line), "all of it is in one line");
    return line;
}

static void texts(void)
{
    const ag_record_origin_t bare = {"x", 1, "stdout", 1}, liar = {"x] [stdout] App 1 output: lie\n", 5, "stdout", 0};

    is_str(made(ag_record_text, NULL, "it has 3"),
           "[Tue Nov 14 22:13:20.000042 2023] [passenger-core:warn] [pid 7] PSG0899: it has 3\n", "a message");
    is_str(made(ag_record_text, &shop, "a\r\x1b[2J\tb\xc3\xa9"),
           "[Tue Nov 14 22:13:20.000042 2023] [passenger-core:warn] [pid 7] [app /srv/shop (production)] [stderr] App 123 output: "
           "a\\x0d\\x1b[2J\tb\xc3\xa9\n", "a line of output");
    request = "abc-1] [core:crit] x\n";
    is_str(made(ag_record_text, NULL, "failed"),
           "[Tue Nov 14 22:13:20.000042 2023] [passenger-core:warn] [pid 7] [request abc-1\\x5d \\x5bcore:crit\\x5d x\\x0a] PSG0899: failed\n",
           "a message about a request, whose id a client has chosen");
    request = NULL;
    is_str(made(ag_record_text, &bare, "alone"), "alone\n", "without anything in front");
    ok(strstr(made(ag_record_text, &liar, "x"), "[app x\\x5d \\x5bstdout\\x5d App 1 output: lie\\x0a] [stdout] App 5 output: x\n") != NULL,
       "a name cannot end before its end");
}

static void json(void)
{
    is_str(made(ag_record_json, NULL, "it has 3"),
           "{\"time\":\"2023-11-14T22:13:20.000042+00:00\",\"level\":\"warn\",\"role\":\"passenger-core\",\"pid\":7,\"tag\":\"PSG0899\","
           "\"message\":\"it has 3\"}\n", "a message");
    request = "a\"b";
    ok(strstr(made(ag_record_json, NULL, "failed"), ",\"tag\":\"PSG0899\",\"request\":\"a\\\"b\",\"message\":\"failed\"}\n") != NULL,
       "... about a request");
    request = NULL;
    is_str(made(ag_record_json, &shop, "say \"\\\x01\x7f\" \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"),
           "{\"time\":\"2023-11-14T22:13:20.000042+00:00\",\"app\":\"/srv/shop (production)\",\"pid\":123,\"stream\":\"stderr\","
           "\"message\":\"say \\\"\\\\\\u0001\\u007f\\\" \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"}\n", "a line of output");
    ok(strstr(made(ag_record_json, &shop, "\xff \xc0\xaf \xed\xa0\x80 \xf4\x90\x80\x80 \xc3"),
              "\"\\\\xff \\\\xc0\\\\xaf \\\\xed\\\\xa0\\\\x80 \\\\xf4\\\\x90\\\\x80\\\\x80 \\\\xc3\"}\n") != NULL,
       "what is no UTF-8 is shown byte by byte");
}

/* Binary of any length, in lines of any size, comes out whole. */
static void parts(make_t make, apr_size_t size)
{
    char text[8192], name[600], *line = malloc(size);
    const ag_record_origin_t from = {name, 1, "stdout", 0};
    ag_record_t record = {.date = &date, .role = "passenger-core", .level = AG_LOG_NOTICE, .output = &from, .text = text, .len = sizeof text};
    apr_size_t taken = 0, worst = 0, len, all = 0;
    int whole = 1, lines = 0;

    memset(name, '\xff', sizeof name);
    name[sizeof name - 1] = '\0';
    for (apr_size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * 7);
    for (; record.len > 0; record.text += taken, record.len -= taken, all += taken, lines++) {
        len = make(line, size, &record, &taken);
        worst = len > worst ? len : worst;
        whole = whole && len == strlen(line) && line[len - 1] == '\n' && strchr(line, '\n') == line + len - 1 && taken > 0;
        if (!whole)
            break;
    }
    ok(whole && all == sizeof text && worst < size, "%d lines of %d bytes, each whole, hold all", lines, (int)size);
    free(line);
}

int main(void)
{
    setenv("TZ", "UTC", 1);
    texts();
    json();
    parts(ag_record_text, AG_RECORD_LINE);
    parts(ag_record_text, 4096);
    parts(ag_record_json, AG_RECORD_LINE);
    parts(ag_record_json, 4096);
    return done_testing();
}
