#include "t/lib/tap.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int count, failed;

static void result(int pass, const char *fmt, va_list args)
{
    printf("%s %d - ", pass ? "ok" : "not ok", ++count);
    vprintf(fmt, args);
    putchar('\n');
    /* A crash in the next test must not take this line with it. */
    fflush(stdout);
    failed += !pass;
}

void ok(int pass, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    result(pass, fmt, args);
    va_end(args);
}

void is_str(const char *got, const char *want, const char *fmt, ...)
{
    va_list args;
    int same = got && want ? strcmp(got, want) == 0 : got == want;

    va_start(args, fmt);
    result(same, fmt, args);
    va_end(args);
    if (!same)
        diag("got  '%s'\nwant '%s'", got ? got : "(null)", want ? want : "(null)");
}

void is_int(long long got, long long want, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    result(got == want, fmt, args);
    va_end(args);
    if (got != want)
        diag("got  %lld\nwant %lld", got, want);
}

void diag(const char *fmt, ...)
{
    char text[4096];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    for (char *line = text, *end; line; line = end ? end + 1 : NULL) {
        end = strchr(line, '\n');
        printf("#   %.*s\n", end ? (int)(end - line) : (int)strlen(line), line);
    }
    fflush(stdout);
}

int done_testing(void)
{
    printf("1..%d\n", count);
    return failed || !count;
}
