/* The directives: one list (options.def), and what follows from it for whoever has no httpd at hand.
 *
 * A per-directory option is a member of ag_options_t, named like its directive without "Passenger", in snake case. A member that was
 * not set holds its default, so readers never ask for defaults; `set` only matters for merging, the wire and digests. */
#ifndef AG_OPTIONS_H
#define AG_OPTIONS_H

#include "apr-glue/frame.h"
#include <apr_tables.h>

/* How values are kept. A SET is NULL or an array of char *, in the order of configuration, without duplicates;
 * a KEYVAL is the same with elements "name value", one for each name. A FLAG is 1, 0, or -1 where the reader must decide. */
#define AG_OPTIONS_FLAG   int
#define AG_OPTIONS_INT    int
#define AG_OPTIONS_STRING const char *
#define AG_OPTIONS_SET    apr_array_header_t *
#define AG_OPTIONS_KEYVAL apr_array_header_t *

/* Ids of the per-directory options: AG_OPTIONS_min_instances, ... Bits of ag_options_t.set. */
enum {
#define OPTION(directive, field, type, scope, def, bounds, flags, doc) AG_OPTIONS_##field,
#include "apr-glue/options.def"
    AG_OPTIONS_COUNT
};

enum { /* the same for the whole server: AG_OPTIONS_GLOBAL_max_pool_size, ... */
#define GLOBAL(directive, field, type, def, bounds, flags, doc) AG_OPTIONS_GLOBAL_##field,
#include "apr-glue/options.def"
    AG_OPTIONS_GLOBAL_COUNT
};

/* Values of one directory, location or request. Values are never changed after they were set, so copies may share them. */
typedef struct ag_options_t {
    apr_uint64_t set; /* bit per id; first, as in ag_options_global_t */
#define OPTION(directive, field, type, scope, def, bounds, flags, doc) AG_OPTIONS_##type field;
#include "apr-glue/options.def"
} ag_options_t;

/* Values for the whole server. */
typedef struct ag_options_global_t {
    apr_uint64_t set;
#define GLOBAL(directive, field, type, def, bounds, flags, doc) AG_OPTIONS_##type field;
#include "apr-glue/options.def"
} ag_options_global_t;

/* Every directive name has a row, in the order of the list: AG_OPTIONS_ROW_PassengerMinInstances, ... */
enum {
#define GLOBAL(directive, field, type, def, bounds, flags, doc)        AG_OPTIONS_ROW_##directive,
#define OPTION(directive, field, type, scope, def, bounds, flags, doc) AG_OPTIONS_ROW_##directive,
#define ALIAS(directive, scope, meant)                                 AG_OPTIONS_ROW_##directive,
#define IGNORED(directive, scope, flags, doc)                          AG_OPTIONS_ROW_##directive,
#include "apr-glue/options.def"
    AG_OPTIONS_ROWS
};

typedef enum {
    AG_OPTIONS_KIND_OPTION, /* member of ag_options_t */
    AG_OPTIONS_KIND_GLOBAL, /* member of ag_options_global_t */
    AG_OPTIONS_KIND_ALIAS,  /* another name of the row `meant` */
    AG_OPTIONS_KIND_IGNORED /* accepted with any arguments, without effect */
} ag_options_kind_t;

typedef enum {
    AG_OPTIONS_TYPE_NONE, /* ignored names */
    AG_OPTIONS_TYPE_FLAG, AG_OPTIONS_TYPE_INT, AG_OPTIONS_TYPE_STRING, AG_OPTIONS_TYPE_SET, AG_OPTIONS_TYPE_KEYVAL
} ag_options_type_t;

typedef enum {
    AG_OPTIONS_SCOPE_GLOBAL,          /* the server as a whole */
    AG_OPTIONS_SCOPE_APP,             /* anywhere but in sections that select files or conditions */
    AG_OPTIONS_SCOPE_LOCATION,        /* anywhere */
    AG_OPTIONS_SCOPE_LOCATION_OPTIONS, /* anywhere; in .htaccess only with AllowOverride Options */
    AG_OPTIONS_SCOPE_ADMIN            /* as APP, but not in .htaccess */
} ag_options_scope_t;

enum {
    AG_OPTIONS_SPAWN = 1 << 0,   /* part of how a process is started: a change replaces the application's processes */
    AG_OPTIONS_GRANT = 1 << 1,   /* root's values are registered; nobody else's are trusted (settings.h) */
    AG_OPTIONS_WARN = 1 << 2,    /* an ignored name that deserves a line in the log */
    AG_OPTIONS_VHOST = 1 << 3,   /* of the whole server, but rightly written in virtual hosts */
    AG_OPTIONS_CAP = 1 << 4,     /* INT: .htaccess files may say no more than the server's configuration, if that says anything; nor may requests to
                                  * the core: root's values are registered, as with GRANT */
    AG_OPTIONS_ENDLESS = 1 << 5, /* INT: 0 means no limit, so it is more than any other number */
    AG_OPTIONS_FIRM = 1 << 6     /* with CAP: where the server's configuration says nothing, the default is the most */
};

typedef struct {
    const char *directive;
    const char *field; /* NULL for ignored names */
    const char *doc;   /* one sentence */
    ag_options_kind_t kind;
    ag_options_type_t type;
    ag_options_scope_t scope;
    unsigned flags;
    int meant;           /* index of the row that counts: its own, or an alias's target */
    int id;              /* AG_OPTIONS_* or AG_OPTIONS_GLOBAL_* */
    apr_size_t offset;   /* of the member */
    int lo, hi;          /* INT: both inclusive; STRING and elements of a SET: longest, bytes */
    const char *choices; /* STRING and elements of a SET: the allowed values, blanks between them, or NULL; any case, kept as here */
    int uri;             /* SET: elements are URI prefixes */
    int url;             /* SET: elements are URLs of websites */
    int variable;        /* KEYVAL: names are those of environment variables; a name alone means that there is none */
} ag_options_row_t;

extern const ag_options_row_t ag_options_rows[];

/* Nothing set, defaults everywhere. */
ag_options_t *ag_options_create(apr_pool_t *p);
ag_options_global_t *ag_options_create_global(apr_pool_t *p);

/* A new object: what `add` sets, else what `base` has. A set of add's replaces base's (Passenger's way), a pair one of the same name. */
ag_options_t *ag_options_merge(apr_pool_t *p, const ag_options_t *base, const ag_options_t *add);

/* A copy whose environment variables are `env`, which may be NULL. */
ag_options_t *ag_options_with_env(apr_pool_t *p, const ag_options_t *o, apr_array_header_t *env);
/* 1 if the option was configured. The row of a per-directory option. Takes one option's value from another object. */
int ag_options_is_set(const ag_options_t *o, int id);
const ag_options_row_t *ag_options_row(int id);
void ag_options_copy(ag_options_t *to, const ag_options_t *from, int id);
/* Which word of PassengerAllowOverride lets .htaccess files use the row: "Limits", "Requests", "App", or NULL for none. */
const char *ag_options_class(const ag_options_row_t *row);
/* For a row with AG_OPTIONS_CAP: if `o` has more than `most`, takes that instead. 1 if it did. */
int ag_options_cap(ag_options_t *o, const ag_options_t *most, const ag_options_row_t *row);

/* NULL if `value` is allowed for the row, else a sentence that names the directive and what is allowed. */
const char *ag_options_check(apr_pool_t *p, const ag_options_row_t *row, const char *value);

/* Checks a value as it stands in a configuration file and keeps it in `object`, an ag_options_t or ag_options_global_t as the
 * row's kind demands; result as of ag_options_check. An empty string is accepted and changes nothing. Sets and key-value pairs
 * accumulate. */
const char *ag_options_set(apr_pool_t *p, void *object, const ag_options_row_t *row, const char *value);

/* Appends what is set: a count, then the field's name and its value for each. */
void ag_options_put(ag_frame_t *f, const ag_options_t *o);
/* Reads what put wrote, into the reader's pool. An unknown or repeated field or a value that ag_options_check refuses makes the
 * reader bad; the result is never NULL. Check with ag_frame_end. */
ag_options_t *ag_options_get(ag_frame_reader_t *in);

/* The same as a message of its own, which is what the module sends in AG_LINK_OPTIONS (as base64). `unpack` returns NULL for
 * anything that `pack` can't have written. */
const char *ag_options_pack(const ag_options_t *o, apr_pool_t *p, apr_size_t *plen);
ag_options_t *ag_options_unpack(apr_pool_t *p, const void *data, apr_size_t len);

/* Equal for equal options, and not to be found by chance without the key. */
apr_uint64_t ag_options_digest(const ag_options_t *o, const unsigned char key[16], apr_pool_t *ptemp);

/* The same over the values (set or not) of the options with AG_OPTIONS_SPAWN. */
apr_uint64_t ag_options_spawn_digest(const ag_options_t *o, const unsigned char key[16], apr_pool_t *ptemp);

#endif
