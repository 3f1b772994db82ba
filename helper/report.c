#include "helper/report.h"
#include "apr-glue/link.h"
#include "apr-glue/text.h"
#include <apr_file_io.h>
#include <apr_strings.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char *template_text = "{{title}}\n\n{{message}}\n{{details}}\n"; /* set once, before the first request */
static const char *template_type = "text/plain; charset=utf-8";

void hp_report_template(const char *dir, apr_pool_t *p)
{
    const char *path = apr_pstrcat(p, dir, "/error.html", NULL);
    apr_file_t *file;
    apr_finfo_t info;
    apr_size_t len;
    char *text;

    if (apr_file_open(&file, path, APR_FOPEN_READ, 0, p) != APR_SUCCESS)
        return;
    if (apr_file_info_get(&info, APR_FINFO_SIZE, file) == APR_SUCCESS && info.size < 256 * 1024) {
        text = apr_pcalloc(p, (apr_size_t)info.size + 1);
        if (apr_file_read_full(file, text, (apr_size_t)info.size, &len) == APR_SUCCESS) {
            template_text = text;
            template_type = "text/html; charset=utf-8";
        }
    }
    apr_file_close(file);
}

hp_report_t *hp_report_create(apr_pool_t *parent, int status, const char *title, const char *sentence, const char *details)
{
    apr_pool_t *p;
    hp_report_t *report;

    apr_pool_create(&p, parent);
    report = apr_pcalloc(p, sizeof *report);
    report->p = p;
    report->status = status;
    report->id = ag_text_random(p, 8);
    report->date = apr_time_now();
    report->title = apr_pstrdup(p, title);
    report->sentence = apr_pstrdup(p, sentence);
    report->details = apr_pstrdup(p, details ? details : "");
    return report;
}

void hp_report_destroy(hp_report_t **preport)
{
    if (*preport)
        apr_pool_destroy((*preport)->p);
    *preport = NULL;
}

static const char *reason_phrase(int status)
{
    return status == 400   ? "Bad Request"
           : status == 500 ? "Internal Server Error"
           : status == 502 ? "Bad Gateway"
           : status == 503 ? "Service Unavailable"
           : status == 504 ? "Gateway Timeout"
           : status == 507 ? "Insufficient Storage"
                           : "Error";
}

/* The template with each {{name}} of `values` replaced; every value is escaped, whoever wrote it. */
static const char *fill(const char *text, const char *const *values, apr_pool_t *p)
{
    apr_array_header_t *parts = apr_array_make(p, 16, sizeof(const char *));
    const char *open, *close;

    while ((open = strstr(text, "{{")) && (close = strstr(open, "}}"))) {
        const char *value = NULL;
        for (int i = 0; values[i]; i += 2) {
            if (strlen(values[i]) == (apr_size_t)(close - open - 2) && strncmp(values[i], open + 2, strlen(values[i])) == 0)
                value = ag_text_html(p, values[i + 1]);
        }
        APR_ARRAY_PUSH(parts, const char *) = apr_pstrmemdup(p, text, (apr_size_t)(value ? open - text : open + 2 - text));
        if (value)
            APR_ARRAY_PUSH(parts, const char *) = value;
        text = value ? close + 2 : open + 2;
    }
    APR_ARRAY_PUSH(parts, const char *) = text;
    return apr_array_pstrcat(p, parts, 0);
}

/* Text in another charset loses what is not ASCII. */
static json_t *json_text(const char *text, apr_pool_t *p)
{
    json_t *value = json_string(text);
    char *copy;

    if (value)
        return value;
    copy = apr_pstrdup(p, text);
    for (char *at = copy; *at; at++) {
        if ((unsigned char)*at >= 0x80)
            *at = '?';
    }
    return json_string(copy);
}

static const char *as_json(const char *const *values, apr_pool_t *p)
{
    json_t *object = json_object();
    const char *text = "{}\n";
    char *dump;

    for (int i = 0; values[i]; i += 2) {
        int number = strcmp(values[i], "status") == 0;
        if (*values[i + 1])
            json_object_set_new(object, values[i], number ? json_integer(atoi(values[i + 1])) : json_text(values[i + 1], p));
    }
    dump = json_dumps(object, JSON_PRESERVE_ORDER | JSON_INDENT(1));
    if (dump)
        text = apr_pstrcat(p, dump, "\n", NULL);
    free(dump);
    json_decref(object);
    return text;
}

int hp_report_wants_json(const char *accept, const char *content_type)
{
    static const char json[] = "application/json";

    if (accept && (strstr(accept, "text/html") || strstr(accept, "application/xhtml")))
        return 0;
    return (accept && strstr(accept, json)) || (content_type && strncmp(content_type, json, strlen(json)) == 0);
}

const char *hp_report_response(const hp_report_t *report, int how, apr_pool_t *p, apr_size_t *plen)
{
    int friendly = how & HP_REPORT_FRIENDLY;
    const char *message = friendly ? report->sentence
                          : report->status == 503
                              ? "The application has more requests than it can serve at the moment. Please try again in a little while."
                              : apr_pstrcat(p, "The administrator finds the reason in the server's log under the error id ", report->id, ".", NULL);
    const char *values[] = {"status", apr_itoa(p, report->status), "title", report->title,   "message", message, "details",
                            friendly ? report->details : "", "id", report->id, NULL};
    const char *own[] = {"status", values[1], "id", report->id, NULL};
    const char *type = how & HP_REPORT_JSON ? "application/json" : report->page ? "text/html; charset=utf-8" : template_type, *text;
    const char *page = how & HP_REPORT_JSON ? as_json(values, p) : report->page ? fill(report->page, own, p) : fill(template_text, values, p);
    const char *retry = report->retry_after > 0 ? apr_psprintf(p, "Retry-After: %d\r\n", report->retry_after) : "";

    text = apr_psprintf(p,
                        "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %" APR_SIZE_T_FMT
                        "\r\nCache-Control: no-cache, no-store, must-revalidate\r\n%s%s%s\r\n%s",
                        report->status, reason_phrase(report->status), type, strlen(page), retry,
                        how & HP_REPORT_AGAIN ? AG_LINK_TRY_AGAIN ": 1\r\n" : "",
                        how & HP_REPORT_CLOSE ? "Connection: close\r\n" : "", how & HP_REPORT_HEAD ? "" : page);
    *plen = strlen(text);
    return text;
}
