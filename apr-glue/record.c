#include "apr-glue/record.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TAIL      24 /* bytes kept free for what ends an object */
#define NAME_MAX_LEN 256 /* bytes of an application's name: a path, usually */
#define REQUEST_MAX_LEN 128 /* of a request's id */

static const char *const levels[] = {[AG_LOG_CRIT] = "crit", [AG_LOG_ERROR] = "error", [AG_LOG_WARN] = "warn", [AG_LOG_NOTICE] = "notice",
                                     [AG_LOG_INFO] = "info", [AG_LOG_DEBUG] = "debug", [AG_LOG_TRACE] = "trace1"};
static const char hex[] = "0123456789abcdef";

typedef struct {
    char *out;
    apr_size_t len, size;
} text_t;

/* For what is short, and made by us. */
static void put(text_t *t, const char *string)
{
    apr_size_t len = strlen(string);

    if (len > t->size - t->len)
        len = t->size - t->len;
    memcpy(t->out + t->len, string, len);
    t->len += len;
}

static void put_number(text_t *t, const char *before, long number, const char *after)
{
    char digits[64];

    snprintf(digits, sizeof digits, "%s%ld%s", before, number, after);
    put(t, digits);
}

/* -- the time -- */

void ag_record_date(ag_record_date_t *date, apr_time_t when)
{
    time_t seconds = (time_t)apr_time_sec(when);
    long offset;
    struct tm tm;

    if (date->second == apr_time_sec(when) + 1)
        return;
    localtime_r(&seconds, &tm);
    offset = tm.tm_gmtoff / 60;
    strftime(date->day, sizeof date->day, "%a %b %d %H:%M:%S", &tm);
    strftime(date->year, sizeof date->year, "%Y", &tm);
    strftime(date->iso, sizeof date->iso, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(date->zone, sizeof date->zone, "%c%02u:%02u", offset < 0 ? '-' : '+', (unsigned)labs(offset) / 60 % 24, (unsigned)labs(offset) % 60);
    date->second = apr_time_sec(when) + 1;
}

static void put_time(text_t *t, const char *seconds, apr_time_t when, const char *zone)
{
    char fraction[16];

    snprintf(fraction, sizeof fraction, ".%06ld", (long)apr_time_usec(when));
    put(t, seconds);
    put(t, fraction);
    put(t, zone);
}

/* -- as text -- */

/* In brackets a name may not close them, or whoever names a folder could write what seems to follow. */
static int plain(unsigned char c, int name)
{
    return (c >= 0x20 && c != 0x7f && !(name && (c == '[' || c == ']'))) || c == '\t';
}

/* How many bytes of `in` were taken. */
static apr_size_t escape(text_t *t, const char *in, apr_size_t len, int name)
{
    apr_size_t i;

    for (i = 0; i < len && t->len + 4 <= t->size; i++) {
        unsigned char c = (unsigned char)in[i];
        if (plain(c, name)) {
            t->out[t->len++] = (char)c;
        } else {
            memcpy(t->out + t->len, (char[]){'\\', 'x', hex[c >> 4], hex[c & 15]}, 4);
            t->len += 4;
        }
    }
    return i;
}

static apr_size_t name_len(const char *name)
{
    return strnlen(name, NAME_MAX_LEN);
}

apr_size_t ag_record_text(char *out, apr_size_t size, const ag_record_t *record, apr_size_t *ptaken)
{
    text_t t = {out, 0, size - 2};
    const ag_record_origin_t *from = record->output;
    const ag_record_date_t *date = record->date;

    if (!from || !from->bare) {
        put(&t, "[");
        put_time(&t, date->day, record->time, " ");
        put(&t, date->year);
        put(&t, "] [");
        put(&t, record->role);
        put(&t, ":");
        put(&t, levels[record->level]);
        put_number(&t, "] [pid ", record->pid, "] ");
    }
    if (from && !from->bare) {
        text_t name = {out, t.len, t.len + 4 * 64 < t.size / 2 ? t.len + 4 * 64 : t.size / 2};
        put(&name, "[app ");
        escape(&name, from->app, name_len(from->app), 1);
        t.len = name.len;
        put(&t, "] [");
        put(&t, from->stream);
        put_number(&t, "] App ", from->pid, " output: ");
    }
    if (record->request) {
        put(&t, "[request ");
        escape(&t, record->request, strnlen(record->request, REQUEST_MAX_LEN), 1);
        put(&t, "] ");
    }
    if (record->tag) {
        put(&t, record->tag);
        put(&t, ": ");
    }
    *ptaken = escape(&t, record->text, record->len, 0);
    out[t.len] = '\n';
    out[t.len + 1] = '\0';
    return t.len + 1;
}

/* -- as JSON -- */

/* Bytes of the character of UTF-8 at `in`, as RFC 3629 has it; 0: that is none. */
static apr_size_t utf8_len(const unsigned char *in, apr_size_t len)
{
    apr_size_t n = in[0] < 0x80 ? 1 : in[0] < 0xc2 ? 0 : in[0] < 0xe0 ? 2 : in[0] < 0xf0 ? 3 : in[0] < 0xf5 ? 4 : 0;

    if (n > len)
        return 0;
    for (apr_size_t i = 1; i < n; i++) {
        if ((in[i] & 0xc0) != 0x80)
            return 0;
    }
    if (n >= 3 && ((in[0] == 0xe0 && in[1] < 0xa0) || (in[0] == 0xed && in[1] >= 0xa0) || (in[0] == 0xf0 && in[1] < 0x90) ||
                   (in[0] == 0xf4 && in[1] >= 0x90)))
        return 0;
    return n;
}

/* One character; how many bytes of `in` it was, 0 if there is no room. A byte that is no UTF-8 shows as \xNN, so that nothing is lost. */
static apr_size_t put_char(text_t *t, const unsigned char *in, apr_size_t len)
{
    apr_size_t n = utf8_len(in, len), need;
    char escaped[8] = {'\\', (char)in[0], 0};

    if (n == 1 && in[0] >= 0x20 && in[0] != '"' && in[0] != '\\' && in[0] != 0x7f)
        need = 1;
    else if (n == 1 && (in[0] == '"' || in[0] == '\\'))
        need = 2;
    else if (n == 1)
        need = (apr_size_t)snprintf(escaped, sizeof escaped, "\\u00%02x", in[0]);
    else if (n == 0)
        need = (apr_size_t)snprintf(escaped, sizeof escaped, "\\\\x%02x", in[0]);
    else
        need = n;
    if (t->len + need > t->size)
        return 0;
    memcpy(t->out + t->len, need == n ? (const char *)in : escaped, need);
    t->len += need;
    return n ? n : 1;
}

/* Without the quotation mark at its end. How many bytes of `value` were taken. */
static apr_size_t put_string(text_t *t, const char *key, const char *value, apr_size_t len)
{
    apr_size_t done = 0, n;

    put(t, key);
    while (done < len && (n = put_char(t, (const unsigned char *)value + done, len - done)) > 0)
        done += n;
    return done;
}

apr_size_t ag_record_json(char *out, apr_size_t size, const ag_record_t *record, apr_size_t *ptaken)
{
    text_t t = {out, 0, size - TAIL};
    const ag_record_origin_t *from = record->output;
    const ag_record_date_t *date = record->date;

    put(&t, "{\"time\":\"");
    put_time(&t, date->iso, record->time, date->zone);
    if (from) {
        text_t name = {out, t.len, t.len + (size - t.len) / 2};
        put_string(&name, "\",\"app\":\"", from->app, name_len(from->app));
        t.len = name.len;
        put_number(&t, "\",\"pid\":", from->pid, ",\"stream\":\"");
        put(&t, from->stream);
    } else {
        put(&t, "\",\"level\":\"");
        put(&t, levels[record->level]);
        put(&t, "\",\"role\":\"");
        put(&t, record->role);
        put_number(&t, "\",\"pid\":", record->pid, ",\"tag\":\"");
        put(&t, record->tag ? record->tag : "");
        if (record->request)
            put_string(&t, "\",\"request\":\"", record->request, strnlen(record->request, REQUEST_MAX_LEN));
    }
    *ptaken = put_string(&t, "\",\"message\":\"", record->text, record->len);
    t.size = size - 1;
    put(&t, record->more || *ptaken < record->len ? "\",\"more\":true}\n" : "\"}\n");
    out[t.len] = '\0';
    return t.len;
}
