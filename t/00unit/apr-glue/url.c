#include "apr-glue/url.c"
#include "t/lib/tap.h"
#include <apr_general.h>

static void good(apr_pool_t *p)
{
    static const struct {
        const char *text, *host, *authority, *target, *credentials, *shown;
        int tls, port;
    } cases[] = {
        {"http://shop.example", "shop.example", "shop.example", "/", NULL, "http://shop.example/", 0, 80},
        {"https://shop.example/a/b?c=d#e", "shop.example", "shop.example", "/a/b?c=d", NULL, "https://shop.example/a/b?c=d", 1, 443},
        {"HTTP://Shop:8080?x", "Shop", "Shop:8080", "/?x", NULL, "http://Shop:8080/?x", 0, 8080},
        {"https://h:443/", "h", "h", "/", NULL, "https://h/", 1, 443},
        {"http://h:443/", "h", "h:443", "/", NULL, "http://h:443/", 0, 443},
        {"http://h:/", "h", "h", "/", NULL, "http://h/", 0, 80},
        {"http://[::1]:81/x", "::1", "[::1]:81", "/x", NULL, "http://[::1]:81/x", 0, 81},
        {"https://127.0.0.1/", "127.0.0.1", "127.0.0.1", "/", NULL, "https://127.0.0.1/", 1, 443},
        {"http://me:p%40ss@my_host/", "my_host", "my_host", "/", "bWU6cEBzcw==", "http://my_host/", 0, 80},
        {"http://me@h/", "h", "h", "/", "bWU6", "http://h/", 0, 80},
    };

    for (apr_size_t i = 0; i < AG_LEN(cases); i++) {
        ag_url_t url = {0};
        is_str(ag_url_parse(&url, cases[i].text, p), NULL, "%s is taken", cases[i].text);
        is_str(url.host, cases[i].host, "... host");
        is_str(url.authority, cases[i].authority, "... authority");
        is_str(url.target, cases[i].target, "... target");
        is_str(url.credentials, cases[i].credentials, "... credentials");
        is_str(url.shown, cases[i].shown, "... without its secret");
        is_int(url.tls, cases[i].tls, "... TLS");
        is_int(url.port, cases[i].port, "... port");
    }
}

static void bad(apr_pool_t *p)
{
    static const char *const cases[] = {"", "/x", "shop.example", "ftp://h/", "unix:/x", "http:/h/", "http://", "http:///x", "http://:80/",
                                        "http://h:0/", "http://h:65536/", "http://h:x/", "http://h:-1/", "http://h /", "http://h/a b",
                                        "http://h/\r\nX: y", "http://h/\xc3\xa4", "http://h\\x/", "http://a:%0a@h/", "http://a:%4@h/",
                                        "http://a%3ab:c@h/", "http://[::1/", "http://[::g]/", "http://h:99999999999999999999/"};

    for (apr_size_t i = 0; i < AG_LEN(cases); i++) {
        ag_url_t url = {.port = 7};
        const char *problem = ag_url_parse(&url, cases[i], p);
        ok(problem && *problem && url.port == 7, "\"%s\" is refused: %s", cases[i], problem ? problem : "no");
    }
}

int main(void)
{
    apr_pool_t *p;

    apr_initialize();
    apr_pool_create(&p, NULL);
    good(p);
    bad(p);
    apr_terminate();
    return done_testing();
}
