#include "apr-glue/hop.c"
#include "t/lib/tap.h"

int main(void)
{
    static const struct {
        const char *connection, *name;
        int named;
    } cases[] = {
        {"X-Foo", "X-Foo", 1}, {"x-foo", "X-Foo", 1}, {"close, X-Foo", "X-Foo", 1},
        {"X-Foo,close", "X-Foo", 1}, {" \t, ,X-Foo \t,", "X-Foo", 1}, {"Upgrade, HTTP2-Settings", "HTTP2-Settings", 1},
        {"X-Foo", "X-Foo2", 0}, {"X-Foo2", "X-Foo", 0}, {"X-Foo X-Bar", "X-Bar", 0},
        {"", "X-Foo", 0}, {"close", "Close", 0}, {"Upgrade", "Upgrade", 0},
        {"keep-alive", "Keep-Alive", 0}, {"Authorization", "Authorization", 0}, {"cookie", "Cookie", 0},
        {"X-Forwarded-For", "X-Forwarded-For", 0}, {"x-forwarded-proto", "X-Forwarded-Proto", 0}, {"X-Forwarded-", "X-Forwarded", 0},
        {"X-Real-IP", "X-Real-IP", 0}, {"Content-Length", "Content-Length", 0}, {"Set-Cookie", "Set-Cookie", 0},
        {"Ifx", "Ifx", 1}, {"Hosts", "Hosts", 1}, {"Connection", "Connection", 0},
    };
    apr_size_t i;

    for (i = 0; i < AG_LEN(cases); i++) {
        const char *c = cases[i].connection, *n = cases[i].name;

        is_int(ag_hop_names(c, strlen(c), n, strlen(n)), cases[i].named, "Connection: %s, and %s", c, n);
    }
    is_int(ag_hop_names_any("keep-alive", 10), 0, "keep-alive alone names none");
    is_int(ag_hop_names_any("", 0), 0, "nor does nothing");
    is_int(ag_hop_names_any("Upgrade, Authorization,TE", 25), 0, "nor what stays");
    is_int(ag_hop_names_any("close,\tX", 8), 1, "any other does");
    return done_testing();
}
