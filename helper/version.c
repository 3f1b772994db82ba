#include "helper/version.h"
#include <apr_strings.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS "0123456789"
#define WORD_MAX 100

static int climbs(const char *word)
{
    return word[0] == '/' || strstr(word, "..") || strstr(word, "./");
}

/* What a version is called in any version manager; anything else would only look for files elsewhere. */
static int acceptable(const char *word)
{
    apr_size_t len = strlen(word);

    return len <= WORD_MAX && !climbs(word) && !word[strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" DIGITS "._+@/*-")];
}

static int named(const char *word, const char *const *tools)
{
    for (; *tools; tools++) {
        if (strcmp(word, *tools) == 0)
            return 1;
    }
    return 0;
}

apr_array_header_t *hp_version_words(const char *text, const char *const *tools, apr_pool_t *p)
{
    apr_array_header_t *words = apr_array_make(p, 4, sizeof(const char *));
    char *copy = apr_pstrdup(p, text), *lines = NULL;

    /* Editors of other systems begin a file with a mark. */
    if (strncmp(copy, "\xef\xbb\xbf", 3) == 0)
        copy += 3;
    for (char *line = apr_strtok(copy, "\r\n", &lines); line; line = apr_strtok(NULL, "\r\n", &lines)) {
        char *rest = NULL, *word;
        line[strcspn(line, "#")] = '\0';
        word = apr_strtok(line, " \t", &rest);
        if (tools && word)
            word = named(word, tools) ? apr_strtok(NULL, " \t", &rest) : NULL;
        for (; word; word = apr_strtok(NULL, " \t", &rest)) {
            if (acceptable(word))
                APR_ARRAY_PUSH(words, const char *) = word;
        }
    }
    return words;
}

static const char *core(const char *name)
{
    static const char *const prefixes[] = {"ruby-", "node-", "python-", "cpython-"};

    for (apr_size_t i = 0; i < AG_LEN(prefixes); i++) {
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            name += strlen(prefixes[i]);
    }
    return (*name == 'v' || *name == 'V') && isdigit((unsigned char)name[1]) ? name + 1 : name;
}

int hp_version_compare(const char *a, const char *b)
{
    while (*a && *b) {
        if (isdigit((unsigned char)*a) && isdigit((unsigned char)*b)) {
            apr_size_t n = strspn(a += strspn(a, "0"), DIGITS), m = strspn(b += strspn(b, "0"), DIGITS);
            int order = n != m ? (n > m) - (n < m) : strncmp(a, b, n);
            if (order)
                return order;
            a += n;
            b += m;
        } else if (*a != *b) {
            return *a < *b ? -1 : 1;
        } else {
            a++, b++;
        }
    }
    return (*a != '\0') - (*b != '\0');
}

/* Neither one to try things with ("3.13-dev", "3.13.0rc1") nor a set of packages for one ("3.2.2@shop"). */
static int release(const char *name)
{
    const char *at = name + strspn(name, DIGITS ".");

    if (strncmp(at, "-p", 2) == 0)
        at += 2 + strspn(at + 2, DIGITS);
    return !*at;
}

/* 1 if `name` is one of the versions that `wanted` begins. */
static int begins(const char *name, const char *wanted, apr_size_t len)
{
    if (len == 0)
        return isdigit((unsigned char)*name) && release(name);
    if (strncmp(name, wanted, len) != 0)
        return 0;
    return isdigit((unsigned char)*wanted) ? name[len] == '.' && release(name) : name[len] == '-' && !strchr(name, '@');
}

const char *hp_version_match(const char *wanted, const apr_array_header_t *installed)
{
    const char *best = NULL, *w = core(wanted);
    apr_size_t len = strlen(w);

    if (len > 2 && (strcmp(w + len - 2, ".x") == 0 || strcmp(w + len - 2, ".*") == 0))
        len -= 2;
    for (int i = 0; i < installed->nelts; i++) {
        const char *name = APR_ARRAY_IDX(installed, i, const char *), *n = core(name);
        if (len > 0 && strcmp(n, w) == 0)
            return name;
        if (begins(n, w, len) && (!best || hp_version_compare(n, core(best)) > 0))
            best = name;
    }
    return best;
}

const char *hp_version_minor(const char *version, apr_pool_t *p)
{
    const char *start = core(version);
    apr_size_t major = strspn(start, DIGITS), minor = major && start[major] == '.' ? strspn(start + major + 1, DIGITS) : 0;

    return minor ? apr_pstrmemdup(p, start, major + 1 + minor) : NULL;
}
