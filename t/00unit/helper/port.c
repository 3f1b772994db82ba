#include "helper/port.c"
#include "t/lib/tap.h"

#define REST "00000000:00000000 00:00000000 00000000"

/* A row as this machine would write it. */
static const char *row(const char *address, int v6, int port, int state, int uid)
{
    static char text[300];
    unsigned char bytes[16] = {0};
    uint32_t words[4];
    char hex[40] = "";

    inet_pton(v6 ? AF_INET6 : AF_INET, address, bytes);
    memcpy(words, bytes, sizeof words);
    for (int i = 0; i < (v6 ? 4 : 1); i++)
        snprintf(hex + 8 * i, sizeof hex - 8 * (size_t)i, "%08X", words[i]);
    snprintf(text, sizeof text, "   0: %s:%04X %0*d:0000 %02X " REST "  %4d        0 3296979 1 0000000000000000 100 0 0 10 0\n", hex, (unsigned)port,
             v6 ? 32 : 8, 0, (unsigned)state, uid);
    return text;
}

static void rows(void)
{
    static const struct {
        const char *address;
        int row_v6, port, v6, found;
    } cases[] = {{"127.0.0.1", 0, 5000, 0, 1}, {"0.0.0.0", 0, 5000, 0, 1},          {"127.0.0.2", 0, 5000, 0, 0}, {"192.0.2.1", 0, 5000, 0, 0},
                 {"127.0.0.1", 0, 5001, 0, 0}, {"127.0.0.1", 0, 5000, 1, 0},        {"::", 1, 5000, 0, 1},        {"::1", 1, 5000, 0, 0},
                 {"::1", 1, 5000, 1, 1},       {"::", 1, 5000, 1, 1},               {"fe80::1", 1, 5000, 1, 0},   {"::ffff:127.0.0.1", 1, 5000, 0, 1},
                 {"::ffff:0.0.0.0", 1, 5000, 0, 1}, {"::ffff:192.0.2.1", 1, 5000, 0, 0}};

    for (apr_size_t i = 0; i < AG_LEN(cases); i++) {
        found_t found = {0, HP_PORT_NOBODY};
        int more = look_at_row(&found, row(cases[i].address, cases[i].row_v6, cases[i].port, LISTENS, 1234), cases[i].row_v6, 5000, cases[i].v6);
        is_int(more, 1, "%s: a listening socket", cases[i].address);
        is_int(found.uid == 1234, cases[i].found, "... that %s connections to %s", cases[i].found ? "gets" : "does not get",
               cases[i].v6 ? "::1" : "127.0.0.1");
    }
}

static void several(void)
{
    found_t found = {0, HP_PORT_NOBODY};
    uid_t uid = 0;

    is_int(look_at_row(&found, "  sl  local_address rem_address   st tx_queue\n", 0, 5000, 0), 1, "the heading");
    is_int(look_at_row(&found, "", 0, 5000, 0), 1, "nothing");
    look_at_row(&found, row("0.0.0.0", 0, 5000, LISTENS, 1), 0, 5000, 0);
    is_int(found.uid, 1, "the one that listens everywhere");
    look_at_row(&found, row("127.0.0.1", 0, 5000, LISTENS, 2), 0, 5000, 0);
    is_int(found.uid, 2, "... gives way to one that listens here");
    look_at_row(&found, row("0.0.0.0", 0, 5000, LISTENS, 3), 0, 5000, 0);
    is_int(found.uid, 2, "... which stays");
    look_at_row(&found, row("127.0.0.1", 0, 5000, LISTENS, 2), 0, 5000, 0);
    is_int(found.uid, 2, "... and may be there twice");
    look_at_row(&found, row("127.0.0.1", 0, 5000, LISTENS, 4), 0, 5000, 0);
    is_int(found.uid, HP_PORT_NOBODY, "but not of two users");
    is_int(look_at_row(&found, row("127.0.0.1", 0, 5000, 1, 4), 0, 5000, 0), 0, "connections are not looked at");
    is_int(hp_port_owner(&uid, 1, 0), APR_SUCCESS, "this machine's list");
    is_int(uid, HP_PORT_NOBODY, "... has nobody on port 1");
}

int main(void)
{
    rows();
    several();
    return done_testing();
}
