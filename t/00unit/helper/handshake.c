#include "helper/handshake.c"
#include "t/lib/tap.h"

static hp_handshake_event_t say(hp_handshake_t *hs, const char *line)
{
    return hp_handshake_line(hs, line, strlen(line));
}

static void good(void)
{
    hp_handshake_t hs = {0};

    is_int(say(&hs, "a line of the shell"), HP_HANDSHAKE_OUTPUT, "other lines are output");
    is_int(say(&hs, "!> I have control 1.0"), HP_HANDSHAKE_GREETED, "the greeting");
    is_int(say(&hs, "imported"), HP_HANDSHAKE_OUTPUT, "the application prints");
    is_int(say(&hs, "!> Ready"), HP_HANDSHAKE_NOTHING, "Ready");
    is_int(say(&hs, "!> socket: other;fd:9;session;1"), HP_HANDSHAKE_NOTHING, "a socket for something else");
    is_int(say(&hs, "!> socket: main;fd:3;session;1"), HP_HANDSHAKE_NOTHING, "the socket");
    is_int(say(&hs, "!> "), HP_HANDSHAKE_READY, "the end");
    is_str(hs.address, "fd:3", "the address");
    is_int(hs.concurrency, 1, "the concurrency");
    is_int(hs.protocol, HP_HANDSHAKE_SESSION, "the protocol");
    is_int(say(&hs, "!> Error"), HP_HANDSHAKE_OUTPUT, "afterwards all is output");
}

static void preloader(void)
{
    hp_handshake_t hs = {0};

    say(&hs, "!> I have control 1.0");
    say(&hs, "!> Ready");
    is_int(say(&hs, "!> preloader"), HP_HANDSHAKE_NOTHING, "a preloader says what it is");
    is_int(say(&hs, "!> "), HP_HANDSHAKE_READY, "and needs no socket");
    is_int(hs.preloader, 1, "it is known for one");
}

static void http(void)
{
    hp_handshake_t hs = {0};

    say(&hs, "!> I have control 1.0");
    say(&hs, "!> Ready");
    is_int(say(&hs, "!> socket: main;tcp://127.0.0.1:5000;http;0"), HP_HANDSHAKE_NOTHING, "a socket of its own");
    is_int(say(&hs, "!> "), HP_HANDSHAKE_READY, "the end");
    is_str(hs.address, "tcp://127.0.0.1:5000", "the address");
    is_int(hs.protocol, HP_HANDSHAKE_HTTP, "the protocol");
    is_int(hs.concurrency, 0, "no limit");
}

static void errors(void)
{
    hp_handshake_t hs = {0};

    say(&hs, "!> I have control 1.0");
    is_int(say(&hs, "!> Error"), HP_HANDSHAKE_NOTHING, "Error");
    is_int(say(&hs, "html: true"), HP_HANDSHAKE_NOTHING, "a header of the error");
    is_int(say(&hs, ""), HP_HANDSHAKE_NOTHING, "the empty line");
    is_int(say(&hs, "!> it is text now"), HP_HANDSHAKE_ERROR_TEXT, "the message");
}

static void refusals(void)
{
    static const char *const sockets[] = {
        "!> socket: main", "!> socket: main;fd:3", "!> socket: main;fd:3;session", "!> socket: main;fd:3;session;", "!> socket: main;fd:3;session;x",
        "!> socket: main;fd:3;session;-1", "!> socket: main;fd:3;session;99999", "!> socket: main;fd:3;gopher;1", "!> socket: main;fd:3;session;1;2",
    };
    char line[1000];
    hp_handshake_t hs = {0};

    is_int(say(&hs, "!> I have control 2.0"), HP_HANDSHAKE_BAD, "another version");
    ok(hs.reason && *hs.reason, "... with a reason");
    is_int(say(&hs, "!> I have control 1.0"), HP_HANDSHAKE_OUTPUT, "... and no second chance");
    for (apr_size_t i = 0; i < AG_LEN(sockets); i++) {
        memset(&hs, 0, sizeof hs);
        say(&hs, "!> I have control 1.0");
        say(&hs, "!> Ready");
        is_int(say(&hs, sockets[i]), HP_HANDSHAKE_BAD, "%s", sockets[i]);
    }
    memset(&hs, 0, sizeof hs);
    say(&hs, "!> I have control 1.0");
    say(&hs, "!> Ready");
    is_int(say(&hs, "!> "), HP_HANDSHAKE_BAD, "ready without a socket");
    memset(&hs, 0, sizeof hs);
    say(&hs, "!> I have control 1.0");
    say(&hs, "!> Ready");
    memset(line, 'x', sizeof line);
    memcpy(line, "!> socket: main;", 16);
    is_int(hp_handshake_line(&hs, line, sizeof line), HP_HANDSHAKE_BAD, "an endless address");
}

static void interpreter(void)
{
    hp_handshake_t hs = {0};

    is_int(say(&hs, "!> interpreter: /usr/bin/python3\tthe system's\t"), HP_HANDSHAKE_INTERPRETER, "what it is about to run");
    is_int((int)hs.text_len, 30, "... is there to be read");
    is_int(say(&hs, "!> I have control 1.0"), HP_HANDSHAKE_GREETED, "... before the loader speaks");
    is_int(say(&hs, "!> interpreter: /usr/bin/python3\tthe system's\t"), HP_HANDSHAKE_BAD, "... and not later");
}

int main(void)
{
    interpreter();
    good();
    preloader();
    http();
    errors();
    refusals();
    return done_testing();
}
