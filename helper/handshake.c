#include "helper/handshake.h"
#include "helper/choice.h"
#include "helper/page.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAITING, GREETED, SOCKETS, DONE, ERROR_HEAD, ERROR_TEXT, BROKEN };

static hp_handshake_event_t bad(hp_handshake_t *hs, const char *reason)
{
    hs->state = BROKEN;
    hs->reason = reason;
    return HP_HANDSHAKE_BAD;
}

static int is(const char *text, apr_size_t len, const char *word)
{
    return len == strlen(word) && memcmp(text, word, len) == 0;
}

static hp_handshake_protocol_t protocol_named(const char *name)
{
    static const char *const names[] = {[HP_HANDSHAKE_SESSION] = "session", [HP_HANDSHAKE_HTTP] = "http", [HP_HANDSHAKE_FASTCGI] = "fastcgi"};

    for (apr_size_t i = 1; i < AG_LEN(names); i++) {
        if (strcmp(name, names[i]) == 0)
            return (hp_handshake_protocol_t)i;
    }
    return HP_HANDSHAKE_NONE;
}

/* "main;<address>;<protocol>;<concurrency>" */
static hp_handshake_event_t take_socket(hp_handshake_t *hs, const char *text, apr_size_t len)
{
    char line[HP_HANDSHAKE_ADDRESS_MAX + 64], *name = line, *address, *protocol, *concurrency, *end;
    long n;

    if (len >= sizeof line)
        return bad(hs, "the loader's socket line is too long");
    memcpy(line, text, len);
    line[len] = '\0';
    address = strchr(name, ';');
    protocol = address ? strchr(address + 1, ';') : NULL;
    concurrency = protocol ? strchr(protocol + 1, ';') : NULL;
    if (!concurrency)
        return bad(hs, "the loader's socket line is not name;address;protocol;concurrency");
    *address++ = *protocol++ = *concurrency++ = '\0';
    n = strtol(concurrency, &end, 10);
    if (!isdigit((unsigned char)*concurrency) || *end || n > 65535)
        return bad(hs, "the loader's socket line has no number for concurrency");
    if (strcmp(name, "main") != 0)
        return HP_HANDSHAKE_NOTHING; /* sockets for other purposes are not for requests */
    hs->protocol = protocol_named(protocol);
    if (!hs->protocol)
        return bad(hs, "the loader's socket speaks a protocol that this version does not (it speaks session, http and fastcgi)");
    if (strlen(address) >= sizeof hs->address)
        return bad(hs, "the loader's socket address is too long");
    memcpy(hs->address, address, strlen(address) + 1);
    hs->concurrency = (int)n;
    return HP_HANDSHAKE_NOTHING;
}

/* What a process says before its loader does; an empty text has lost the blank before it. */
static const struct {
    const char *word;
    hp_handshake_event_t event;
} words[] = {
    {HP_CHOICE_WORD, HP_HANDSHAKE_INTERPRETER},
    {HP_PAGE_WORD, HP_HANDSHAKE_PAGE},
    {HP_PAGE_CONTINUED, HP_HANDSHAKE_PAGE_CONTINUED},
};

static hp_handshake_event_t control(hp_handshake_t *hs, const char *text, apr_size_t len)
{
    if (is(text, len, "Error") && hs->state <= SOCKETS) {
        hs->state = ERROR_HEAD;
        return HP_HANDSHAKE_NOTHING;
    }
    switch (hs->state) {
    case WAITING:
        for (apr_size_t i = 0; i < AG_LEN(words); i++) {
            apr_size_t n = strlen(words[i].word);
            if (len + 1 < n || strncmp(text, words[i].word, len < n ? len : n) != 0)
                continue;
            hs->text = len < n ? text + len : text + n;
            hs->text_len = len < n ? 0 : len - n;
            return words[i].event;
        }
        if (!is(text, len, "I have control 1.0"))
            return bad(hs, "the loader did not begin with \"I have control 1.0\"");
        hs->state = GREETED;
        return HP_HANDSHAKE_GREETED;
    case GREETED:
        if (!is(text, len, "Ready"))
            return bad(hs, "the loader said neither Ready nor Error");
        hs->state = SOCKETS;
        return HP_HANDSHAKE_NOTHING;
    case SOCKETS:
        if (len > 8 && memcmp(text, "socket: ", 8) == 0)
            return take_socket(hs, text + 8, len - 8);
        if (is(text, len, "preloader"))
            hs->preloader = 1;
        if (len > 0)
            return HP_HANDSHAKE_NOTHING; /* a later protocol's line */
        if (!hs->protocol && !hs->preloader)
            return bad(hs, "the loader is ready but has named no main socket");
        hs->state = DONE;
        return HP_HANDSHAKE_READY;
    default:
        return HP_HANDSHAKE_OUTPUT;
    }
}

hp_handshake_event_t hp_handshake_line(hp_handshake_t *hs, const char *line, apr_size_t len)
{
    if (hs->state == ERROR_HEAD) {
        if (len == 0)
            hs->state = ERROR_TEXT;
        return HP_HANDSHAKE_NOTHING;
    }
    if (hs->state == ERROR_TEXT)
        return HP_HANDSHAKE_ERROR_TEXT;
    if (hs->state == DONE || hs->state == BROKEN || len < 2 || line[0] != '!' || line[1] != '>')
        return HP_HANDSHAKE_OUTPUT;
    line += 2;
    len -= 2;
    while (len > 0 && *line == ' ')
        line++, len--;
    while (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\r'))
        len--;
    return control(hs, line, len);
}
