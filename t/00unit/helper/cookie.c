#include "helper/cookie.c"
#include "t/lib/tap.h"

static void made(const char *name, const char *path, const char *attributes, const char *expected)
{
    char *template = hp_cookie_template(name, path, attributes), *field = hp_cookie_field(template, 4294967295U);

    is_str(field, expected, "a cookie for \"%s\"", path);
    free(field);
    free(template);
}

int main(void)
{
    static const struct {
        const char *cookies;
        uint32_t number;
    } cases[] = {
        {"route=7", 7},
        {"route=4294967295", 4294967295U},
        {"a=b; route=12; c=d", 12},
        {"a=b;route=12 ;c=d", 12},
        {"xroute=1; route=2", 2},
        {"routex=1; route=2", 2},
        {"route=3; route=4", 3},
        {"a=\"route=5\"; route=6", 6},
        {"route=", 0},
        {"route", 0},
        {"route=x; route=4", 0},
        {"route=12x", 0},
        {"route=-1", 0},
        {"route=4294967296", 0},
        {"route=99999999999999999999999999999999999", 0},
        {"route=\"7\"", 0},
        {"Route=7", 0},
        {";;; ;route=8", 8},
        {"", 0},
        {NULL, 0},
    };

    for (apr_size_t i = 0; i < AG_LEN(cases); i++)
        is_int(hp_cookie_number(cases[i].cookies, "route"), cases[i].number, "%s", cases[i].cookies ? cases[i].cookies : "no cookie");
    is_int(hp_cookie_number("=7", ""), 0, "without a name there is none");
    made("route", "", "SameSite=Lax; Secure;", "Set-Cookie: route=4294967295; Path=/; SameSite=Lax; Secure;\r\n");
    made("_r", "/shop", "", "Set-Cookie: _r=4294967295; Path=/shop\r\n");
    made("_r", "/a b;c\r\n\xc3\xa4%", "x", "Set-Cookie: _r=4294967295; Path=/a%20b%3Bc%0D%0A%C3%A4%25; x\r\n");
    return done_testing();
}
