#include "helper/cookie.h"
#include "apr-glue/memory.h"
#include <apr_lib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t number(const char *value)
{
    uint64_t n = 0;

    for (; *value >= '0' && *value <= '9' && n <= UINT32_MAX; value++)
        n = n * 10 + (uint64_t)(*value - '0');
    value += strspn(value, " \t");
    return (*value == '\0' || *value == ';') && n <= UINT32_MAX ? (uint32_t)n : 0;
}

uint32_t hp_cookie_number(const char *cookies, const char *name)
{
    const char *at = cookies;
    apr_size_t len = strlen(name);

    while (at && len > 0) {
        at += strspn(at, " \t");
        if (strncmp(at, name, len) == 0 && at[len] == '=')
            return number(at + len + 1);
        at = strchr(at, ';');
        if (at)
            at++;
    }
    return 0;
}

char *hp_cookie_template(const char *name, const char *path, const char *attributes)
{
    apr_size_t name_len = strlen(name), size = name_len + 1 + 3 * strlen(path) + strlen(attributes) + 16;
    char *made = malloc(size), *at = made, *end = made + size;

    if (!made)
        ag_memory_out();
    /* The name, a NUL, and what follows the number. */
    memcpy(at, name, name_len + 1);
    at += name_len + 1;
    at += snprintf(at, (size_t)(end - at), "; Path=%s", *path ? "" : "/");
    for (const unsigned char *c = (const unsigned char *)path; *c; c++) {
        if (apr_isalnum(*c) || strchr("/-._~!$&'()*+,=:@", *c))
            *at++ = (char)*c;
        else
            at += snprintf(at, (size_t)(end - at), "%%%02X", *c);
    }
    snprintf(at, (size_t)(end - at), "%s%s", *attributes ? "; " : "", attributes);
    return made;
}

char *hp_cookie_field(const char *template, uint32_t number)
{
    const char *rest = template + strlen(template) + 1;
    apr_size_t size = strlen(template) + strlen(rest) + 32;
    char *field = malloc(size);

    if (!field)
        ag_memory_out();
    snprintf(field, size, "Set-Cookie: %s=%lu%s\r\n", template, (unsigned long)number, rest);
    return field;
}
