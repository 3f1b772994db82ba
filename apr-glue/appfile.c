#include "apr-glue/appfile.h"
#include "apr-glue/text.h"
#include <apr_lib.h>
#include <apr_strings.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMMAND_MAX 8192
#define TYPE_MAX    32
#define PATH_LEN    4095

typedef struct {
    ag_appfile_t *file;
    apr_array_header_t *env;
    const char *path;
    const char **preason;
    apr_pool_t *p;
} reader_t;

static apr_status_t AG_PRINTF(2, 3) wrong(const reader_t *r, const char *fmt, ...)
{
    va_list args;
    char *clause;

    va_start(args, fmt);
    clause = apr_pvsprintf(r->p, fmt, args);
    va_end(args);
    /* It may repeat a piece of the file, and becomes a line of logs and of the loaders' protocol. */
    for (char *at = clause; *at; at++) {
        if (apr_iscntrl(*at))
            *at = '?';
    }
    *r->preason = apr_pstrcat(r->p, r->path, clause, NULL);
    return APR_EGENERAL;
}

static apr_status_t system_says(const reader_t *r, int error)
{
    *r->preason = apr_pstrcat(r->p, r->path, " cannot be read: ", ag_text_error(r->p, error), NULL);
    return error;
}

/* Whoever owns the folder may have put a pipe or a terminal there: nothing here waits. */
static apr_status_t load(const reader_t *r, char **ptext, apr_size_t *plen)
{
    int fd = open(r->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    apr_status_t rv = APR_SUCCESS;
    apr_size_t len = 0;
    struct stat st;
    char *text;
    ssize_t n;

    if (fd < 0)
        return system_says(r, errno);
    if (fstat(fd, &st)) {
        rv = system_says(r, errno);
        goto leave;
    }
    if (!S_ISREG(st.st_mode)) {
        rv = wrong(r, " is not a regular file");
        goto leave;
    }
    if (st.st_size > AG_APPFILE_MAX) {
        rv = wrong(r, " has more than %d bytes", AG_APPFILE_MAX);
        goto leave;
    }
    text = apr_palloc(r->p, (apr_size_t)st.st_size + 1);
    while (len < (apr_size_t)st.st_size && (n = read(fd, text + len, (apr_size_t)st.st_size - len)) > 0)
        len += (apr_size_t)n;
    text[len] = '\0';
    r->file->owner = st.st_uid;
    *ptext = text;
    *plen = len;

leave:
    close(fd);
    return rv;
}

/* People write comments there, since their other server allows them. Lines and columns stay what they are. */
static void blank_comments(char *text, apr_size_t len)
{
    char *at = text, *end = text + len, *stop;

    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        memset(text, ' ', 3);
    while (at < end) {
        if (*at == '"') {
            for (at++; at < end && *at != '"' && *at != '\n'; at++)
                at += *at == '\\' && at + 1 < end;
            at += at < end;
        } else if (at + 1 < end && at[0] == '/' && (at[1] == '/' || at[1] == '*')) {
            int line = at[1] == '/';
            stop = memmem(at + 2, (apr_size_t)(end - at - 2), line ? "\n" : "*/", line ? 1 : 2);
            stop = !stop ? end : line ? stop : stop + 2;
            for (; at < stop; at++)
                *at = *at == '\n' ? '\n' : ' ';
        } else {
            at++;
        }
    }
}

static int has_control(const char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return 1;
    }
    return 0;
}

/* A member that is a text of one line, or not there. */
static apr_status_t get_text(const reader_t *r, const json_t *root, const char *name, apr_size_t max, const char **ptext)
{
    const json_t *value = json_object_get(root, name);
    const char *text = json_string_value(value);

    if (!value || json_is_null(value))
        return APR_SUCCESS;
    if (!text || !*text || strlen(text) > max)
        return wrong(r, ": \"%s\" must be a string of 1 to %d bytes", name, (int)max);
    if (has_control(text))
        return wrong(r, ": \"%s\" must be one line without control characters", name);
    *ptext = apr_pstrdup(r->p, text);
    return APR_SUCCESS;
}

static int is_name(const char *name)
{
    return *name && !(*name >= '0' && *name <= '9') &&
           !name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")];
}

static apr_status_t get_env(const reader_t *r, json_t *root)
{
    json_t *vars = json_object_get(root, "envvars"), *value;
    const char *name;

    if (!vars || json_is_null(vars))
        return APR_SUCCESS;
    if (!json_is_object(vars))
        return wrong(r, ": \"envvars\" must be an object of strings");
    json_object_foreach(vars, name, value) {
        if (!is_name(name))
            return wrong(r, ": \"%s\" in \"envvars\" is no name of a variable", apr_pstrndup(r->p, name, 100));
        if (!json_is_string(value))
            return wrong(r, ": \"%s\" in \"envvars\" must be a string", apr_pstrndup(r->p, name, 100));
        APR_ARRAY_PUSH(r->env, const char *) = apr_pstrcat(r->p, name, "=", json_string_value(value), NULL);
    }
    return APR_SUCCESS;
}

static apr_status_t get_all(const reader_t *r, json_t *root)
{
    apr_status_t rv;

    if (!json_is_object(root))
        return wrong(r, ": it must be one JSON object");
    rv = get_text(r, root, "app_start_command", COMMAND_MAX, &r->file->command);
    if (rv == APR_SUCCESS)
        rv = get_text(r, root, "app_type", TYPE_MAX, &r->file->type);
    if (rv == APR_SUCCESS)
        rv = get_text(r, root, "startup_file", PATH_LEN, &r->file->startup);
    return rv == APR_SUCCESS ? get_env(r, root) : rv;
}

apr_status_t ag_appfile_read(ag_appfile_t *file, const char *folder, const char **preason, apr_pool_t *p)
{
    reader_t r = {.file = file, .path = apr_pstrcat(p, folder, "/" AG_APPFILE_NAME, NULL), .preason = preason, .p = p};
    json_error_t error;
    apr_size_t len = 0;
    json_t *root;
    char *text = NULL;
    apr_status_t rv;

    memset(file, 0, sizeof *file);
    file->env = r.env = apr_array_make(p, 4, sizeof(const char *));
    rv = load(&r, &text, &len);
    if (rv != APR_SUCCESS)
        return rv;
    blank_comments(text, len);
    root = json_loadb(text, len, 0, &error);
    if (!root)
        return wrong(&r, ", line %d, column %d: %s", error.line > 0 ? error.line : 1, error.column > 0 ? error.column : 1, error.text);
    rv = get_all(&r, root);
    json_decref(root);
    return rv;
}
