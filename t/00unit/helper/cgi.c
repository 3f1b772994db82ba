#include "helper/cgi.c"
#include "t/lib/tap.h"
#include <stdio.h>
#include <stdlib.h>

static ag_http_head_t *head;

/* "status reason", "?" for more is needed, or "!" and the reason. */
static const char *said(const char *text)
{
    static char result[200];
    const char *reason = "";
    apr_size_t len;
    apr_status_t rv = hp_cgi_head(head, text, strlen(text), &len, &reason);

    if (rv == APR_INCOMPLETE)
        return "?";
    if (rv != APR_SUCCESS)
        snprintf(result, sizeof result, "!%s", reason);
    else
        snprintf(result, sizeof result, "%d %.*s", head->status, (int)head->reason_len, head->reason);
    return result;
}

int main(void)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"Content-Type: text/html\n\n", "200 OK"},
        {"Content-type: text/html\r\nStatus: 404 Not Found\r\n\r\nbody", "404 Not Found"},
        {"status: 299\n\n", "299 "},
        {"Status: 200 \n\n", "200 "},
        {"Location: http://other/\n\n", "302 Found"},
        {"Location: /here\nStatus: 301 Moved\n\n", "301 Moved"},
        {"Location: //other/\n\n", "302 Found"},
        {"Location: /here\n\n", "200 OK"},
        {"HTTP/1.1 404 Gone Fishing\r\nX: y\r\n\r\n", "404 Gone Fishing"},
        {"HTTP/1.0 200 OK\n\n", "200 OK"},
        {"Content-Type: text/html\n", "?"},
        {"HT", "?"},
        {"", "?"},
        {"\n", "!the head has no field"},
        {"\r\nbody", "!the head has no field"},
        {"Status: 20\n\n", "!the value of Status is not a number from 200 to 599 and a phrase"},
        {"Status: 103 Early Hints\n\n", "!the value of Status is not a number from 200 to 599 and a phrase"},
        {"Status: 2000\n\n", "!the value of Status is not a number from 200 to 599 and a phrase"},
        {"Status: OK\n\n", "!the value of Status is not a number from 200 to 599 and a phrase"},
        {"HTTP/1.1 100 Continue\r\n\r\n", "!its status is one that no response ends with"},
        {"<html>\n<body>\n\n", "!a line of the head is no field, or its name is no token"},
        {"X: a\n b\n\n", "!a field is continued on the next line, which is obsolete and refused"},
        {"X: a\001\n\n", "!the value of a field holds a control character"},
    };

    head = malloc(sizeof *head);
    for (apr_size_t i = 0; i < AG_LEN(cases); i++)
        is_str(said(cases[i].text), cases[i].want, "%.20s", cases[i].text);
    said("Connection: close\nContent-Length: 5\n\n");
    is_int(head->close, 0, "the connection is not the program's");
    is_int(head->content_length, 5, "the length is");
    free(head);
    return done_testing();
}
