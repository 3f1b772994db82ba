#include "helper/own_socket.c"
#include "t/lib/tap.h"

static void paths(void)
{
    static const struct {
        const char *path;
        int fresh, known;
    } cases[] = {
        {"/run/reg/instance-1/own-7/socket", 1, 1}, {"/run/reg/instance-2/own-7/socket", 1, 0},  {"/run/reg/instance-1/own-8/socket", 0, 0},
        {"/run/reg/instance-1/own-7/other", 0, 0},  {"/run/reg/instance-1/own-7/socket/x", 0, 0}, {"/run/reg/../own-7/socket", 0, 0},
        {"/run/reg/instance-1/x/own-7/socket", 0, 0}, {"/run/reg/x/own-7/socket", 0, 0},          {"/run/reg/own-7/socket", 0, 0},
        {"/home/u/own-7/socket", 0, 0},             {"own-7/socket", 0, 0},                       {"", 0, 0},
    };
    ag_settings_t fresh = {.registry_dir = "/run/reg"}, known = {.registry_dir = "/elsewhere", .instance_dir = "/run/reg/instance-1"};

    for (apr_size_t i = 0; i < AG_LEN(cases); i++) {
        is_int(is_of(cases[i].path, &fresh, 7), cases[i].fresh, "%s, at the first start", cases[i].path);
        is_int(is_of(cases[i].path, &known, 7), cases[i].known, "... and later");
    }
    is_int(hp_own_socket_open("/run/reg/instance-1/own-7/socket", &fresh, 7, 0), -1, "where there is nothing");
}

int main(void)
{
    paths();
    return done_testing();
}
