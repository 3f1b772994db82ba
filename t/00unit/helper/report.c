#include "helper/report.c"
#include "t/lib/tap.h"
#include <apr_general.h>

static const char *body(const hp_report_t *report, int how, apr_pool_t *p)
{
    apr_size_t len;
    const char *text = hp_report_response(report, how, p, &len), *at = strstr(text, "\r\n\r\n");

    is_int((int)strlen(text), (int)len, "as long as it says");
    return at ? at + 4 : "";
}

static void pages(apr_pool_t *p)
{
    hp_report_t *report = hp_report_create(p, 500, "It <failed>", "a.py: it's wrong", "Trace & back");
    const char *text;

    template_text = "<h1>{{title}}</h1>{{message}}|{{details}}|{{id}}|{{unknown}} {{";
    report->id = "0123abcd";
    is_str(body(report, HP_REPORT_FRIENDLY, p),
           "<h1>It &lt;failed&gt;</h1>a.py: it&#39;s wrong|Trace &amp; back|0123abcd|{{unknown}} {{", "a friendly page");
    text = body(report, 0, p);
    ok(!strstr(text, "wrong") && !strstr(text, "Trace"), "a page for visitors has neither cause nor details");
    ok(strstr(text, "under the error id 0123abcd.") != NULL, "... but the id");
    report->page = "{{id}} {{message}} {{details}} {{status}}";
    is_str(body(report, HP_REPORT_FRIENDLY, p), "0123abcd {{message}} {{details}} 500", "the application's own page is given the id only");
    is_str(body(report, HP_REPORT_HEAD, p), "", "HEAD has no page");
}

static void programs(apr_pool_t *p)
{
    hp_report_t *report = hp_report_create(p, 503, "Busy", "b\"c\x01", "latin \xe9");

    report->id = "0123abcd";
    is_str(body(report, HP_REPORT_JSON | HP_REPORT_FRIENDLY, p),
           "{\n \"status\": 503,\n \"title\": \"Busy\",\n \"message\": \"b\\\"c\\u0001\",\n \"details\": \"latin ?\",\n \"id\": \"0123abcd\"\n}\n",
           "JSON whatever the text");
    ok(!strstr(body(report, HP_REPORT_JSON, p), "details"), "... without details for visitors");
    ok(hp_report_wants_json("application/json", NULL), "asked for");
    ok(hp_report_wants_json("application/json, text/plain, */*", NULL), "... among others");
    ok(!hp_report_wants_json("text/html,application/json;q=0.9", NULL), "browsers want pages");
    ok(!hp_report_wants_json("text/html", "application/json"), "... even if they send JSON");
    ok(hp_report_wants_json(NULL, "application/json; charset=utf-8"), "who sends JSON gets it");
    ok(hp_report_wants_json("*/*", "application/json"), "... who takes anything, too");
    ok(!hp_report_wants_json("*/*", NULL) && !hp_report_wants_json(NULL, NULL), "nobody else does");
}

int main(void)
{
    apr_pool_t *p;

    apr_initialize();
    apr_pool_create(&p, NULL);
    pages(p);
    programs(p);
    apr_pool_destroy(p);
    return done_testing();
}
