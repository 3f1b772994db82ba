#include "helper/output.c"
#include "t/lib/tap.h"
#include <stdio.h>

static char seen[4 * HP_OUTPUT_LINE];

static void take(void *baton, const char *line, apr_size_t len, int more)
{
    apr_size_t used = strlen(seen);

    (*(int *)baton)++;
    snprintf(seen + used, sizeof seen - used, "%.*s%c", (int)len, line, more ? '>' : '|');
}

static void lines(apr_pool_t *p)
{
    hp_output_t output = {.fd = -1};
    char more[HP_OUTPUT_LINE + 10];
    int fds[2], count = 0;

    if (pipe(fds))
        return;
    hp_output_open(&output, ag_loop_create(p), fds[0], take, &count, p);
    ok(write(fds[1], "one\ntwo\n\nhal", 12) == 12 && read_once(&output), "what is there is read");
    is_str(seen, "one|two||", "whole lines are taken, empty ones too");
    ok(write(fds[1], "f\n", 2) == 2 && read_once(&output), "more is read");
    is_str(seen, "one|two||half|", "the end of a line comes later");
    memset(more, 'x', sizeof more);
    more[sizeof more - 1] = '\n';
    count = 0;
    ok(write(fds[1], more, sizeof more) == sizeof more && read_once(&output), "a long line is read");
    is_int(count, 2, "it is cut");
    is_str(seen + strlen(seen) - 11, ">xxxxxxxxx|", "... and the first part says that more comes");
    ok(write(fds[1], "last words", 10) == 10, "a line without an end");
    hp_output_drain(&output);
    is_int(count, 3, "is one line at the end");
    close(fds[1]);
    hp_output_drain(&output);
    is_int(count, 3, "there is nothing more");
    hp_output_close(&output);
    hp_output_close(&output);
    is_int(output.fd, -1, "closing twice closes once");
}

static void texts(void)
{
    hp_output_text_t text = {0};
    char line[HP_OUTPUT_KEEP];

    hp_output_keep(&text, "one", 3);
    hp_output_keep(&text, "", 0);
    is_str(text.bytes, "one\n\n", "lines are kept");
    memset(line, 'x', sizeof line);
    hp_output_keep(&text, line, sizeof line);
    is_int((long long)text.len, 5, "but not more than is shown");
    hp_output_forget(&text);
    is_str(text.bytes, NULL, "forgotten");
}

int main(void)
{
    apr_pool_t *p;

    apr_initialize();
    apr_pool_create(&p, NULL);
    lines(p);
    texts();
    apr_pool_destroy(p);
    return done_testing();
}
