/* Writes DIRECTIVES.md from the list of directives. */
#include "apr-glue/options.h"
#include <stdio.h>
#include <stdlib.h>
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

static const struct {
    const char *directive, *arguments;
} examples[] = {
#define EXAMPLE(directive, arguments) {#directive, arguments},
#include "conf/examples.def"
};

static const char *const heads[] = {
    [AG_OPTIONS_SCOPE_GLOBAL] = "The whole server",
    [AG_OPTIONS_SCOPE_APP] = "Applications",
    [AG_OPTIONS_SCOPE_LOCATION] = "Requests",
    [AG_OPTIONS_SCOPE_LOCATION_OPTIONS] = "Requests, with AllowOverride Options",
    [AG_OPTIONS_SCOPE_ADMIN] = "What others may say"};

static const char intro[] =
    "# Directives\n\nMade from `apr-glue/options.def` by `make -f Makefile.apxs docs`. Names, flags and words are matched without regard to case; an "
    "empty string leaves\nwhat an outer section says. Paths are used as they are written. A value out of its bounds is a configuration error "
    "that names the directive\nand what is allowed. A list replaces that of an outer section.\n"
    "\n## Where directives may stand\n\n"
    "*server*: outside of sections. *host*: in `<VirtualHost>`. *folder*: in `<Directory>` and `<Location>`. *files*: in `<Files>` and `<If>`.\n\n"
    "`.htaccess` files are read if Apache's `AllowOverride` is not `None` for the folder; then each directive of ours is accepted there (one: with "
    "`AllowOverride\nOptions` only). Beside that, `PassengerAllowOverride` says which of them count there, by class: *App* (which application, and "
    "how it is started), *Limits*,\n*Requests*. Where it leaves out a class, and for directives of administrators, there is a warning with file "
    "and line, once, and the directive is ignored.\nWhat an `.htaccess` file says about applications holds for those of its own owner only: that "
    "the application's user and the file's owner are the same, or\nthe startup file's owner and the file's, is checked before anything is "
    "started. Interpreters that are named there must be plain interpreters of root's or of that user;\nusers and groups may be those that "
    "ownership says anyhow; a group's name joins no processes of others. Limits are lowered to what the server's configuration says,\nwherever "
    "that stands, and PassengerCPUWeight to 100 where it says nothing, with a warning.\n";

static const char differences[] =
    "\n## Different from Phusion Passenger\n\n"
    "- Applications are looked for in the order Python, Ruby, Node.js, Meteor, always.\n"
    "- Of several base URIs the longest that fits counts.\n"
    "- `PassengerAppType` and `PassengerAppStartCommand` need no `PassengerAppRoot`: it is found as for other applications, and the group is named "
    "after it.\n"
    "- Options are not frozen by the first request: a changed configuration or `.htaccess` file replaces the application's processes.\n"
    "- `PassengerStickySessionsCookieName` has its effect; `HTTPS` set to off, 0, no, false or nothing means that there is no TLS.\n"
    "- `REQUEST_URI` is what was sent, with its `%2F`, unless mod_rewrite changed the path; `PATH_INFO` has `%2F` with "
    "`PassengerAllowEncodedSlashes` or `AllowEncodedSlashes NoDecode`, and for Python a slash, unless it is NoDecode.\n"
    "- With `PassengerBufferUpload Off`, a chunked body that is there at once has a `CONTENT_LENGTH`, and `HTTP_TRANSFER_ENCODING` is only told of "
    "others.\n"
    "- The response header X-Powered-By and the component of `Server` have our name and version, not Phusion Passenger's.\n"
    "- `PATH_INFO` is decoded for Python, as PEP 3333 wants it; chunked bodies reach applications without their framing; `[::1]:80` is "
    "understood in `Host`.\n"
    "- Responses are never kept (`PassengerTurbocaching`); mod_cache does it.\n"
    "- Enterprise directives work. Names that are obsolete, or about telemetry, update checks and the admin panel, are accepted and do nothing.\n"
    "- Directives for applications are accepted in `.htaccess`, as above.\n"
    "- Files of an application that lies in the document root are refused (`PassengerProtectAppFiles`).\n";

/* Text of a default as a reader expects it, without C's quotes. */
static void print_default(const row_t *row)
{
    if (row->type == AG_OPTIONS_TYPE_FLAG)
        printf("%s", strcmp(row->def, "1") == 0 ? "On" : strcmp(row->def, "0") == 0 ? "Off" : "it depends");
    else if (row->def[0] == '"')
        printf("`%.*s`", (int)strlen(row->def) - 2, row->def + 1);
    else
        printf("%s", strcmp(row->def, "NULL") == 0 ? "none" : row->def);
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

static void print_where(const row_t *row)
{
    const char *class = ag_options_class(&ag_options_rows[row - rows]);

    if (row->scope == AG_OPTIONS_SCOPE_GLOBAL) {
        printf("server%s", strstr(row->flags, "VHOST") ? ", host" : " (in a host too, with a warning; the last one counts)");
        return;
    }
    printf("server, host, folder");
    if (row->scope == AG_OPTIONS_SCOPE_LOCATION || row->scope == AG_OPTIONS_SCOPE_LOCATION_OPTIONS)
        printf(", files");
    if (class)
        printf(", .htaccess (%s%s)", class, row->scope == AG_OPTIONS_SCOPE_LOCATION_OPTIONS ? "; AllowOverride Options" : "");
}

/* Another value than the default, if nobody has thought of a better one. */
static void print_example(const row_t *row)
{
    const char *last = strrchr(row->bounds, ' ');
    int value = atoi(row->def);
    apr_size_t i;

    for (i = 0; i < AG_LEN(examples); i++) {
        if (strcmp(examples[i].directive, row->directive) == 0) {
            printf("`%s %s`", row->directive, examples[i].arguments);
            return;
        }
    }
    if (row->type == AG_OPTIONS_TYPE_FLAG)
        printf("`%s %s`", row->directive, value == 1 ? "Off" : "On");
    else if (row->type == AG_OPTIONS_TYPE_INT)
        printf("`%s %d`", row->directive, value > 0 ? value * 2 : 10);
    else if (row->bounds[0])
        printf("`%s %s`", row->directive, last ? last + 1 : row->bounds);
    else if (row->def[0] == '"')
        printf("`%s %.*s`", row->directive, (int)strlen(row->def) - 2, row->def + 1);
    else
        printf("`%s value`", row->directive);
}

static void print_row(const row_t *row)
{
    printf("\n### %s\n\n%s\n\n- default: ", row->directive, row->doc);
    print_default(row);
    printf("\n- values: ");
    print_values(row);
    printf("\n- where: ");
    print_where(row);
    printf("\n- example: ");
    print_example(row);
    printf("\n");
}

static void print_scope(ag_options_scope_t scope)
{
    apr_size_t i;

    printf("\n## %s\n", heads[scope]);
    for (i = 0; i < AG_LEN(rows); i++) {
        if (rows[i].scope == scope && (rows[i].kind == AG_OPTIONS_KIND_OPTION || rows[i].kind == AG_OPTIONS_KIND_GLOBAL))
            print_row(&rows[i]);
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

    fputs(intro, stdout);
    for (scope = AG_OPTIONS_SCOPE_GLOBAL; scope <= AG_OPTIONS_SCOPE_ADMIN; scope++)
        print_scope((ag_options_scope_t)scope);
    print_others();
    fputs(differences, stdout);
    return 0;
}
