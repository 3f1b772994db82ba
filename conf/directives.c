/* Writes DIRECTIVES.md from the list of directives. */
#include "apr-glue/options.h"
#include <stdio.h>
#include <string.h>

typedef struct {
    const char *directive, *bounds, *def, *doc, *meant, *flags;
    ag_options_type_t type;
    ag_options_scope_t scope;
    ag_options_kind_t kind;
} row_t;

#define ANY
#define RANGE(least, most) #least " to " #most
#define LENGTH(most)
#define ONE_OF(words) words
#define KINDS         "name of a kind"
#define URIS          "/ or a path without a slash at its end"
#define URLS          "http or https URL, repeatable"
#define VARIABLES

#define BASE(name, which, what, where)                                                                                           \
    .directive = #name, .kind = AG_OPTIONS_KIND_##which, .type = AG_OPTIONS_TYPE_##what, .scope = AG_OPTIONS_SCOPE_##where

static const row_t rows[] = {
#define GLOBAL(directive, field, type_, def_, bounds_, flags_, doc_)                                                             \
    {BASE(directive, GLOBAL, type_, GLOBAL), .def = #def_, .bounds = "" bounds_, .flags = #flags_, .doc = doc_},
#define OPTION(directive, field, type_, scope_, def_, bounds_, flags_, doc_)                                                     \
    {BASE(directive, OPTION, type_, scope_), .def = #def_, .bounds = "" bounds_, .flags = #flags_, .doc = doc_},
#define ALIAS(directive, scope_, meant_)         {BASE(directive, ALIAS, NONE, scope_), .meant = #meant_},
#define IGNORED(directive, scope_, flags_, doc_) {BASE(directive, IGNORED, NONE, scope_), .doc = doc_, .flags = #flags_},
#include "apr-glue/options.def"
};

static const char *const heads[] = {
    [AG_OPTIONS_SCOPE_GLOBAL] =
        "## The whole server\n\nIn the server's configuration. In a virtual host they hold for the whole server too, with a "
        "warning, and the last one\nwins; in `.htaccess` they are ignored, with a warning.",
    [AG_OPTIONS_SCOPE_APP] =
        "## Applications\n\nIn the server's configuration, `<VirtualHost>`, `<Directory>`, `<Location>` and, with any "
        "`AllowOverride`, `.htaccess`;\nnot in `<Files>` and `<If>`. What is written in `.htaccess` runs as the owner of the "
        "application's files and gets\nno other rights than they have.",
    [AG_OPTIONS_SCOPE_LOCATION] = "## Requests\n\nAnywhere; in `.htaccess` with any `AllowOverride`.",
    [AG_OPTIONS_SCOPE_LOCATION_OPTIONS] =
        "## Requests, with AllowOverride Options\n\nAnywhere; in `.htaccess` with `AllowOverride Options`.",
    [AG_OPTIONS_SCOPE_ADMIN] =
        "## For administrators\n\nIn the server's configuration, `<VirtualHost>`, `<Directory>` and `<Location>`; in "
        "`.htaccess` they are ignored, with a warning."};

static int pending(const row_t *row)
{
    return strstr(row->flags, "PENDING") != NULL;
}

/* Text of a default as a reader expects it, without C's quotes. */
static void print_default(const row_t *row)
{
    if (row->type == AG_OPTIONS_TYPE_FLAG)
        printf("%s", strcmp(row->def, "1") == 0 ? "On" : strcmp(row->def, "0") == 0 ? "Off" : "");
    else if (row->def[0] == '"')
        printf("`%.*s`", (int)strlen(row->def) - 2, row->def + 1);
    else if (strcmp(row->def, "NULL") != 0)
        printf("%s", row->def);
}

static void print_values(const row_t *row)
{
    static const char *const names[] = {[AG_OPTIONS_TYPE_NONE] = "",
                                        [AG_OPTIONS_TYPE_FLAG] = "On, Off",
                                        [AG_OPTIONS_TYPE_INT] = "",
                                        [AG_OPTIONS_TYPE_STRING] = "text",
                                        [AG_OPTIONS_TYPE_SET] = "text, repeatable",
                                        [AG_OPTIONS_TYPE_KEYVAL] = "name and value, repeatable"};
    static const char endless[] = " to 2147483647";
    apr_size_t len = strlen(row->bounds);

    if (len > sizeof endless - 1 && strcmp(row->bounds + len - (sizeof endless - 1), endless) == 0)
        printf("%.*s or more", (int)(len - (sizeof endless - 1)), row->bounds);
    else
        printf("%s", len ? row->bounds : names[row->type]);
}

static void print_scope(ag_options_scope_t scope)
{
    apr_size_t i;

    printf("\n%s\n\n| directive | default | values | |\n| --- | --- | --- | --- |\n", heads[scope]);
    for (i = 0; i < AG_LEN(rows); i++) {
        if (rows[i].scope != scope || (rows[i].kind != AG_OPTIONS_KIND_OPTION && rows[i].kind != AG_OPTIONS_KIND_GLOBAL))
            continue;
        printf("| `%s` | ", rows[i].directive);
        print_default(&rows[i]);
        printf(" | ");
        print_values(&rows[i]);
        printf(" | %s%s |\n", rows[i].doc, pending(&rows[i]) ? " *Accepted; no effect yet.*" : "");
    }
}

static void print_others(void)
{
    apr_size_t i;

    printf("\n## Other names\n\n| directive | means |\n| --- | --- |\n");
    for (i = 0; i < AG_LEN(rows); i++) {
        if (rows[i].kind == AG_OPTIONS_KIND_ALIAS)
            printf("| `%s` | `%s` |\n", rows[i].directive, rows[i].meant);
    }
    printf("\n## Accepted and ignored\n\n| directive | warning | |\n| --- | --- | --- |\n");
    for (i = 0; i < AG_LEN(rows); i++) {
        if (rows[i].kind == AG_OPTIONS_KIND_IGNORED)
            printf("| `%s` | %s | %s |\n", rows[i].directive, strcmp(rows[i].flags, "WARN") == 0 ? "yes" : "no", rows[i].doc);
    }
}

int main(void)
{
    int scope;

    printf("# Directives\n\nMade from `apr-glue/options.def` by `make -f Makefile.apxs docs`. Names and flags are matched "
           "without regard to case; an empty "
           "string leaves\nwhat an outer section says. Paths are used as they are written. A value out of its bounds is a "
           "configuration "
           "error that names\nthe directive and what is allowed.\n");
    for (scope = AG_OPTIONS_SCOPE_GLOBAL; scope <= AG_OPTIONS_SCOPE_ADMIN; scope++)
        print_scope((ag_options_scope_t)scope);
    print_others();
    return 0;
}
