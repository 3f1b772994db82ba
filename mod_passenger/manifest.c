#include "mod_passenger/manifest.h"

#include <apr_file_io.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <apr_tables.h>

typedef struct {
    const char *directive, *value, *file, *context; /* context: the sections around it, outermost first, or "" */
    int line;
} entry_t;

struct mp_manifest_t {
    apr_array_header_t *entries;
};

mp_manifest_t *mp_manifest_create(apr_pool_t *p)
{
    mp_manifest_t *manifest = apr_palloc(p, sizeof *manifest);

    manifest->entries = apr_array_make(p, 32, sizeof(entry_t));
    return manifest;
}

/* "<VirtualHost *:80> <Location /x>". httpd keeps the angle at the end with the arguments, and keeps the arguments of no other directive. */
static const char *context_of(apr_pool_t *p, const ap_directive_t *directive)
{
    const char *context = "";

    for (directive = directive->parent; directive; directive = directive->parent)
        context = apr_pstrcat(p, directive->directive, " ", directive->args ? directive->args : "", *context ? " " : "", context, NULL);
    return context;
}

void mp_manifest_note(mp_manifest_t *manifest, cmd_parms *cmd, const char *directive, const char *value)
{
    apr_pool_t *p = manifest->entries->pool;
    entry_t *entry = apr_array_push(manifest->entries);

    entry->directive = directive;
    entry->value = apr_pstrdup(p, value);
    entry->file = apr_pstrdup(p, cmd->directive->filename);
    entry->line = cmd->directive->line_num;
    entry->context = context_of(p, cmd->directive);
}

/* A JSON string (RFC 8259 section 7). Bytes that are no ASCII are kept: file names have no encoding. */
static const char *quoted(apr_pool_t *p, const char *text)
{
    char *out = apr_palloc(p, strlen(text) * 6 + 3), *at = out;

    *at++ = '"';
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            *at++ = '\\';
        if (apr_iscntrl(*text) && (unsigned char) *text < 0x80)
            at += apr_snprintf(at, 7, "\\u%04x", (unsigned) *text);
        else
            *at++ = *text;
    }
    *at++ = '"';
    *at = '\0';
    return out;
}

static apr_status_t write_entries(const mp_manifest_t *manifest, apr_file_t *f, apr_pool_t *p)
{
    apr_status_t rv = apr_file_puts("{\n  \"version\": \"" AG_VERSION "\",\n  \"directives\": [", f);
    int i;

    for (i = 0; i < manifest->entries->nelts && rv == APR_SUCCESS; i++) {
        const entry_t *e = &APR_ARRAY_IDX(manifest->entries, i, entry_t);

        rv = apr_file_puts(apr_psprintf(p, "%s\n    {\"directive\": %s, \"value\": %s, \"context\": %s, \"file\": %s, \"line\": %d}", i ? "," : "",
                                        quoted(p, e->directive), quoted(p, e->value), quoted(p, e->context), quoted(p, e->file), e->line),
                           f);
    }
    return rv == APR_SUCCESS ? apr_file_puts("\n  ]\n}\n", f) : rv;
}

void mp_manifest_write(const mp_manifest_t *manifest, const char *file, server_rec *s, apr_pool_t *ptemp)
{
    char *fresh = apr_pstrcat(ptemp, file, ".XXXXXX", NULL);
    apr_file_t *f;
    apr_status_t rv = apr_file_mktemp(&f, fresh, APR_FOPEN_CREATE | APR_FOPEN_WRITE | APR_FOPEN_EXCL | APR_FOPEN_BUFFERED, ptemp);

    if (rv == APR_SUCCESS) {
        apr_status_t closed;

        rv = write_entries(manifest, f, ptemp);
        closed = apr_file_close(f);
        rv = rv == APR_SUCCESS ? closed : rv;
        if (rv == APR_SUCCESS)
            rv = apr_file_rename(fresh, file, ptemp);
        if (rv != APR_SUCCESS)
            apr_file_remove(fresh, ptemp);
    }
    if (rv != APR_SUCCESS)
        MP_LOG(APLOG_ERR, rv, s, "PSG1704", "%s (PassengerDumpConfigManifest) could not be written", file);
}
