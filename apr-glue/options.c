#include "apr-glue/options.h"
#include "apr-glue/url.h"
#include <apr_lib.h>
#include <apr_siphash.h>
#include <apr_strings.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* The type of a packed message: "OPT" and a version. */
#define PACKED 0x4f505401u

/* More elements than anyone configures, few enough that packed options always fit into a frame. */
#define SET_MAX 64
/* The same for the whole server, where every virtual host may add to a set. */
#define GLOBAL_SET_MAX 4096

#define BIT(id) ((apr_uint64_t)1 << (id))

_Static_assert(AG_OPTIONS_COUNT <= 64 && AG_OPTIONS_GLOBAL_COUNT <= 64, "the set bits are 64");
_Static_assert(offsetof(ag_options_t, set) == offsetof(ag_options_global_t, set), "ag_options_set treats both alike");

static const ag_options_t defaults = {
#define OPTION(directive, field, type, scope, def, bounds, flags, doc) .field = def,
#include "apr-glue/options.def"
};

static const ag_options_global_t global_defaults = {
#define GLOBAL(directive, field, type, def, bounds, flags, doc) .field = def,
#include "apr-glue/options.def"
};

static const char kinds[] =
#define KIND(name, other_name, startup_file, is_folder) " " name " " other_name
#include "apr-glue/kind.def"
    ;
#undef KIND

/* The words that the list uses in its columns. */
#define SPAWN              AG_OPTIONS_SPAWN
#define GRANT              AG_OPTIONS_GRANT
#define WARN               AG_OPTIONS_WARN
#define VHOST              AG_OPTIONS_VHOST
#define CAP                AG_OPTIONS_CAP
#define ENDLESS            AG_OPTIONS_ENDLESS
#define FIRM               AG_OPTIONS_FIRM
#define ANY                .hi = 1
#define RANGE(least, most) .lo = least, .hi = most
#define LENGTH(most)       .hi = most
#define ONE_OF(words)      .hi = 255, .choices = words
#define KINDS              .hi = 32, .choices = kinds
#define URIS               .hi = 1024, .uri = 1
#define URLS               .hi = 2048, .url = 1
#define VARIABLES          .hi = 32768, .variable = 1

const ag_options_row_t ag_options_rows[] = {
#define ROW(name, which, what, where, marks, target)                                                                             \
    .directive = #name, .kind = AG_OPTIONS_KIND_##which, .type = AG_OPTIONS_TYPE_##what, .scope = AG_OPTIONS_SCOPE_##where,      \
    .flags = marks, .meant = AG_OPTIONS_ROW_##target
#define GLOBAL(directive, field_, type_, def, bounds, flags_, doc_)                                                              \
    {ROW(directive, GLOBAL, type_, GLOBAL, flags_, directive),                                                                   \
     .field = #field_,                                                                                                           \
     .doc = doc_,                                                                                                                \
     .id = AG_OPTIONS_GLOBAL_##field_,                                                                                           \
     .offset = offsetof(ag_options_global_t, field_),                                                                            \
     bounds},
#define OPTION(directive, field_, type_, scope_, def, bounds, flags_, doc_)                                                      \
    {ROW(directive, OPTION, type_, scope_, flags_, directive),                                                                   \
     .field = #field_,                                                                                                           \
     .doc = doc_,                                                                                                                \
     .id = AG_OPTIONS_##field_,                                                                                                  \
     .offset = offsetof(ag_options_t, field_),                                                                                   \
     bounds},
#define ALIAS(directive, scope_, meant_)         {ROW(directive, ALIAS, NONE, scope_, 0, meant_)},
#define IGNORED(directive, scope_, flags_, doc_) {ROW(directive, IGNORED, NONE, scope_, flags_, directive), .doc = doc_},
#include "apr-glue/options.def"
};

/* From a per-directory option's id to its row. */
static const int row_of[] = {
#define OPTION(directive, field, type, scope, def, bounds, flags, doc) [AG_OPTIONS_##field] = AG_OPTIONS_ROW_##directive,
#include "apr-glue/options.def"
};

ag_options_t *ag_options_create(apr_pool_t *p)
{
    return apr_pmemdup(p, &defaults, sizeof defaults);
}

ag_options_global_t *ag_options_create_global(apr_pool_t *p)
{
    return apr_pmemdup(p, &global_defaults, sizeof global_defaults);
}

/* 1 if both pairs begin with the same name. */
static int same_name(const char *a, const char *b)
{
    apr_size_t len = strcspn(a, " ");

    return strcspn(b, " ") == len && strncmp(a, b, len) == 0;
}

/* The array's place for a pair of this name: where one stands, or a new one at its end. */
static const char **place_of(apr_array_header_t *pairs, const char *pair)
{
    for (int i = 0; i < pairs->nelts; i++) {
        if (same_name(APR_ARRAY_IDX(pairs, i, const char *), pair))
            return &APR_ARRAY_IDX(pairs, i, const char *);
    }
    return apr_array_push(pairs);
}

static apr_array_header_t *merge_pairs(apr_pool_t *p, const apr_array_header_t *base, const apr_array_header_t *add)
{
    apr_array_header_t *pairs = base ? apr_array_copy(p, base) : apr_array_make(p, add->nelts, sizeof(const char *));

    for (int i = 0; i < add->nelts; i++)
        *place_of(pairs, APR_ARRAY_IDX(add, i, const char *)) = APR_ARRAY_IDX(add, i, const char *);
    return pairs;
}

#define MERGE_FLAG(p, base, add)   (add)
#define MERGE_INT(p, base, add)    (add)
#define MERGE_STRING(p, base, add) (add)
#define MERGE_SET(p, base, add)    (add)
#define MERGE_KEYVAL(p, base, add) merge_pairs(p, base, add)

ag_options_t *ag_options_merge(apr_pool_t *p, const ag_options_t *base, const ag_options_t *add)
{
    ag_options_t *o = apr_pmemdup(p, base, sizeof *base);

#define OPTION(directive, field, type, scope, def, bounds, flags, doc)                                                           \
    if (ag_options_is_set(add, AG_OPTIONS_##field))                                                                              \
        o->field = MERGE_##type(p, base->field, add->field);
#include "apr-glue/options.def"
    o->set |= add->set;
    return o;
}

ag_options_t *ag_options_with_env(apr_pool_t *p, const ag_options_t *o, apr_array_header_t *env)
{
    ag_options_t *copy = apr_pmemdup(p, o, sizeof *o);

    copy->env_var = env;
    copy->set = env ? o->set | BIT(AG_OPTIONS_env_var) : o->set & ~BIT(AG_OPTIONS_env_var);
    return copy;
}

int ag_options_is_set(const ag_options_t *o, int id)
{
    return (o->set & BIT(id)) != 0;
}

const ag_options_row_t *ag_options_row(int id)
{
    return &ag_options_rows[row_of[id]];
}

const char *ag_options_class(const ag_options_row_t *row)
{
    if (row->flags & AG_OPTIONS_CAP)
        return "Limits";
    switch (row->scope) {
    case AG_OPTIONS_SCOPE_APP:
        return "App";
    case AG_OPTIONS_SCOPE_LOCATION:
    case AG_OPTIONS_SCOPE_LOCATION_OPTIONS:
        return "Requests";
    case AG_OPTIONS_SCOPE_GLOBAL:
    case AG_OPTIONS_SCOPE_ADMIN:
        break;
    }
    return NULL;
}

/* The members of either struct, by row. */
static int *int_at(void *object, const ag_options_row_t *row)
{
    return (int *)(void *)((char *)object + row->offset);
}

static const char **string_at(void *object, const ag_options_row_t *row)
{
    return (const char **)(void *)((char *)object + row->offset);
}

static apr_array_header_t **set_at(void *object, const ag_options_row_t *row)
{
    return (apr_array_header_t **)(void *)((char *)object + row->offset);
}

void ag_options_copy(ag_options_t *to, const ag_options_t *from, int id)
{
    switch (id) {
#define OPTION(directive, field, type, scope, def, bounds, flags, doc)                                                           \
    case AG_OPTIONS_##field:                                                                                                     \
        to->field = from->field;                                                                                                 \
        break;
#include "apr-glue/options.def"
    default:
        return;
    }
    to->set |= BIT(id);
}

int ag_options_cap(ag_options_t *o, const ag_options_t *most, const ag_options_row_t *row)
{
    void *limits = (void *)(uintptr_t)most;
    int limit = *int_at(limits, row), *value = int_at(o, row), endless = (row->flags & AG_OPTIONS_ENDLESS) != 0;

    if ((endless && limit == 0) || (*value <= limit && !(endless && *value == 0)))
        return 0;
    *value = limit;
    return 1;
}

static const char *check_flag(apr_pool_t *p, const ag_options_row_t *row, const char *value)
{
    if (strcasecmp(value, "on") == 0 || strcasecmp(value, "off") == 0)
        return NULL;
    return apr_pstrcat(p, row->directive, " must be On or Off", NULL);
}

/* 1 and *pvalue if `text` is nothing but a decimal number that an int holds. */
static int number(const char *text, int *pvalue)
{
    char *end;
    long value;

    errno = 0;
    value = strtol(text, &end, 10);
    if (errno || end == text || *end || value < INT_MIN || value > INT_MAX)
        return 0;
    *pvalue = (int)value;
    return 1;
}

static const char *check_int(apr_pool_t *p, const ag_options_row_t *row, const char *text)
{
    int value;

    if (number(text, &value) && value >= row->lo && value <= row->hi)
        return NULL;
    if (row->hi == INT_MAX)
        return apr_psprintf(p, "%s must be a number, %d or more", row->directive, row->lo);
    return apr_psprintf(p, "%s must be a number from %d to %d", row->directive, row->lo, row->hi);
}

/* Where `value` is among the blank-separated words, or NULL. */
static const char *choice(const char *words, const char *value)
{
    apr_size_t len = strlen(value);
    const char *at;

    for (at = words; *at; at += strcspn(at, " "), at += strspn(at, " ")) {
        if (len == strcspn(at, " ") && strncasecmp(at, value, len) == 0)
            return at;
    }
    return NULL;
}

static const char *check_uri(apr_pool_t *p, const ag_options_row_t *row, const char *value)
{
    apr_size_t len = strlen(value);

    if (value[0] != '/')
        return apr_pstrcat(p, row->directive, " must begin with a slash", NULL);
    if (len > 1 && value[len - 1] == '/')
        return apr_pstrcat(p, row->directive, " must not end with a slash, unless it is only a slash", NULL);
    return NULL;
}

static const char *check_url(apr_pool_t *p, const ag_options_row_t *row, const char *value)
{
    ag_url_t url;
    const char *problem = ag_url_parse(&url, value, p);

    return problem ? apr_pstrcat(p, row->directive, " ", problem, NULL) : NULL;
}

/* What environ(7) and every shell can hold. A name alone takes away what an outer section sets. */
static const char *check_variable(apr_pool_t *p, const ag_options_row_t *row, const char *value)
{
    apr_size_t len = strcspn(value, " ");

    for (apr_size_t i = 0; i < len; i++) {
        if (!apr_isalnum(value[i]) && value[i] != '_')
            len = 0;
    }
    if (len > 0 && !apr_isdigit(value[0]))
        return NULL;
    return apr_psprintf(p, "%s: the name of a variable has letters, digits and \"_\", and does not begin with a digit", row->directive);
}

static const char *check_text(apr_pool_t *p, const ag_options_row_t *row, const char *value)
{
    apr_size_t len = strlen(value), i;

    if (len > (apr_size_t)row->hi)
        return apr_psprintf(p, "%s must not be longer than %d bytes", row->directive, row->hi);
    /* Values become lines of the loaders' protocol and of logs. */
    for (i = 0; i < len; i++) {
        if (apr_iscntrl(value[i]))
            return apr_pstrcat(p, row->directive, " must not contain control characters", NULL);
    }
    if (row->choices && !choice(row->choices, value))
        return apr_pstrcat(p, row->directive, " must be one of:", row->choices[0] == ' ' ? "" : " ", row->choices, NULL);
    if (row->url)
        return check_url(p, row, value);
    if (row->variable)
        return check_variable(p, row, value);
    return row->uri ? check_uri(p, row, value) : NULL;
}

const char *ag_options_check(apr_pool_t *p, const ag_options_row_t *row, const char *value)
{
    switch (row->type) {
    case AG_OPTIONS_TYPE_FLAG:
        return check_flag(p, row, value);
    case AG_OPTIONS_TYPE_INT:
        return check_int(p, row, value);
    case AG_OPTIONS_TYPE_STRING:
    case AG_OPTIONS_TYPE_SET:
    case AG_OPTIONS_TYPE_KEYVAL:
        return check_text(p, row, value);
    case AG_OPTIONS_TYPE_NONE:
        break;
    }
    return NULL;
}

/* Adds to the object's own array; what it inherited was replaced, not shared, so nobody else sees it. 0 when there is no room. */
static int add_element(apr_pool_t *p, apr_array_header_t **pset, const char *value, int most)
{
    int i;

    if (!*pset)
        *pset = apr_array_make(p, 2, sizeof(const char *));
    for (i = 0; i < (*pset)->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(*pset, i, const char *), value) == 0)
            return 1;
    }
    if ((*pset)->nelts == most)
        return 0;
    APR_ARRAY_PUSH(*pset, const char *) = apr_pstrdup(p, value);
    return 1;
}

/* The same for pairs: a later one of the same name replaces an earlier one. */
static int add_pair(apr_pool_t *p, apr_array_header_t **ppairs, const char *pair, int most)
{
    if (!*ppairs)
        *ppairs = apr_array_make(p, 2, sizeof(const char *));
    *place_of(*ppairs, pair) = apr_pstrdup(p, pair);
    if ((*ppairs)->nelts <= most)
        return 1;
    apr_array_pop(*ppairs);
    return 0;
}

const char *ag_options_set(apr_pool_t *p, void *object, const ag_options_row_t *row, const char *value)
{
    int most = row->kind == AG_OPTIONS_KIND_GLOBAL ? GLOBAL_SET_MAX : SET_MAX;
    const char *problem;

    assert(row->kind == AG_OPTIONS_KIND_OPTION || row->kind == AG_OPTIONS_KIND_GLOBAL);
    if (!*value && !row->uri && !row->variable && row->type != AG_OPTIONS_TYPE_FLAG && row->type != AG_OPTIONS_TYPE_INT)
        return NULL;
    problem = ag_options_check(p, row, value);
    if (problem)
        return problem;
    if (row->choices)
        value = apr_pstrmemdup(p, choice(row->choices, value), strlen(value));
    if (row->type == AG_OPTIONS_TYPE_FLAG)
        *int_at(object, row) = strcasecmp(value, "on") == 0;
    else if (row->type == AG_OPTIONS_TYPE_INT)
        *int_at(object, row) = atoi(value);
    else if (row->type == AG_OPTIONS_TYPE_STRING)
        *string_at(object, row) = apr_pstrdup(p, value);
    else if (!(row->type == AG_OPTIONS_TYPE_SET ? add_element : add_pair)(p, set_at(object, row), value, most))
        return apr_psprintf(p, "%s must not have more than %d values", row->directive, most);
    *(apr_uint64_t *)object |= BIT(row->id);
    return NULL;
}

static void put_value(ag_frame_t *f, const ag_options_t *options, const ag_options_row_t *row)
{
    void *o = (void *)(uintptr_t)options;
    const apr_array_header_t *set;
    int i;

    ag_frame_put_str(f, row->field);
    switch (row->type) {
    case AG_OPTIONS_TYPE_FLAG:
    case AG_OPTIONS_TYPE_INT:
        ag_frame_put_u32(f, (uint32_t)*int_at(o, row));
        break;
    case AG_OPTIONS_TYPE_STRING:
        ag_frame_put_str(f, *string_at(o, row));
        break;
    case AG_OPTIONS_TYPE_SET:
    case AG_OPTIONS_TYPE_KEYVAL:
        set = *set_at(o, row);
        ag_frame_put_u32(f, set ? (uint32_t)set->nelts : 0);
        for (i = 0; set && i < set->nelts; i++)
            ag_frame_put_str(f, APR_ARRAY_IDX(set, i, const char *));
        break;
    case AG_OPTIONS_TYPE_NONE:
        break;
    }
}

void ag_options_put(ag_frame_t *f, const ag_options_t *o)
{
    int id;

    ag_frame_put_u32(f, (uint32_t)__builtin_popcountll(o->set));
    for (id = 0; id < AG_OPTIONS_COUNT; id++) {
        if (ag_options_is_set(o, id))
            put_value(f, o, &ag_options_rows[row_of[id]]);
    }
}

static const ag_options_row_t *find_field(const char *field)
{
    int id;

    for (id = 0; field && id < AG_OPTIONS_COUNT; id++) {
        if (strcmp(ag_options_rows[row_of[id]].field, field) == 0)
            return &ag_options_rows[row_of[id]];
    }
    return NULL;
}

/* One value, checked like one from a file; 0 when it is refused. */
static int get_value(ag_frame_reader_t *in, ag_options_t *o, const ag_options_row_t *row)
{
    uint32_t n = 1;
    const char *text;

    if (row->type == AG_OPTIONS_TYPE_FLAG || row->type == AG_OPTIONS_TYPE_INT) {
        int value = (int)ag_frame_get_u32(in);
        *int_at(o, row) = value;
        return value >= row->lo && value <= row->hi;
    }
    if (row->type != AG_OPTIONS_TYPE_STRING)
        n = ag_frame_get_u32(in);
    if (n < 1 || n > SET_MAX)
        return 0;
    while (n-- > 0) {
        text = ag_frame_get_str(in);
        if (!text || !*text || ag_options_set(in->p, o, row, text))
            return 0;
    }
    return 1;
}

ag_options_t *ag_options_get(ag_frame_reader_t *in)
{
    ag_options_t *o = ag_options_create(in->p);
    uint32_t n = ag_frame_get_u32(in);

    while (!in->bad && n-- > 0) {
        const ag_options_row_t *row = find_field(ag_frame_get_str(in));
        if (!row || ag_options_is_set(o, row->id) || !get_value(in, o, row))
            in->bad = 1;
        else
            o->set |= BIT(row->id);
    }
    return o;
}

const char *ag_options_pack(const ag_options_t *o, apr_pool_t *p, apr_size_t *plen)
{
    ag_frame_t *f = ag_frame_create(p, PACKED);

    ag_options_put(f, o);
    return ag_frame_data(f, plen);
}

ag_options_t *ag_options_unpack(apr_pool_t *p, const void *data, apr_size_t len)
{
    ag_frame_reader_t in;
    ag_options_t *o;

    if (ag_frame_open(&in, p, data, len) != PACKED)
        return NULL;
    o = ag_options_get(&in);
    return ag_frame_end(&in) == APR_SUCCESS ? o : NULL;
}

apr_uint64_t ag_options_digest(const ag_options_t *o, const unsigned char key[16], apr_pool_t *ptemp)
{
    apr_size_t len;
    const char *data = ag_options_pack(o, ptemp, &len);

    return apr_siphash24(data, len, key);
}

apr_uint64_t ag_options_spawn_digest(const ag_options_t *o, const unsigned char key[16], apr_pool_t *ptemp)
{
    ag_frame_t *f = ag_frame_create(ptemp, PACKED);
    apr_size_t len;
    const char *data;
    int id;

    /* Values, not what was configured: writing a default down must not replace processes. */
    for (id = 0; id < AG_OPTIONS_COUNT; id++) {
        if (ag_options_rows[row_of[id]].flags & AG_OPTIONS_SPAWN)
            put_value(f, o, &ag_options_rows[row_of[id]]);
    }
    data = ag_frame_data(f, &len);
    return apr_siphash24(data, len, key);
}
