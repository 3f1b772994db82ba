#include "helper/choice.c"
#include "t/lib/tap.h"
#include <apr_general.h>
#include <string.h>

/* The line that `found` becomes, read again; `pline`: the line, without its end. */
static hp_choice_t round_trip(const hp_hints_found_t *found, const char **pline, apr_pool_t *p)
{
    const apr_size_t lead = strlen("!> " HP_CHOICE_WORD);
    hp_choice_t choice = {NULL, NULL, NULL};
    hp_choice_line_t in = {.pid = 7, .app_root = "/srv/shop"};

    *pline = hp_choice_line(found, p);
    ok(!strchr(*pline, '\n'), "one line");
    in.text = *pline + lead;
    in.len = strlen(in.text);
    hp_choice_take(&choice, &in, p);
    return choice;
}

static void lines(apr_pool_t *p)
{
    hp_hints_found_t found = {.path = "/srv/shop/venv/bin/python", .rule = "found: venv/bin/python", .note = ""};
    char *path = apr_palloc(p, 5001);
    const char *line;
    hp_choice_t got = round_trip(&found, &line, p);

    is_str(line, "!> interpreter: /srv/shop/venv/bin/python\tfound: venv/bin/python\t", "what loaders' authors see");
    is_str(got.path, found.path, "the path comes through");
    is_str(got.rule, found.rule, "... the rule");
    is_str(got.note, "", "... and that there is nothing else");
    found.path = "/srv/a\tb\nc/python";
    found.note = "asked for 3.9";
    got = round_trip(&found, &line, p);
    is_str(got.path, "/srv/a?b?c/python", "a folder with an odd name ends nothing");
    is_str(got.note, "asked for 3.9", "... nor shifts what follows");
    is_str(hp_choice_blame(&got, "No module named 'x'", p), "No module named 'x' (asked for 3.9; /srv/a?b?c/python was used)", "what failed says so");
    found = (hp_hints_found_t){.path = "/usr/bin/node", .rule = HP_HINTS_INSTEAD ".nvmrc asks for 22", .note = ""};
    got = round_trip(&found, &line, p);
    is_str(hp_choice_blame(&got, "x is not a function", p), "x is not a function (/usr/bin/node was used, which is the system's; .nvmrc asks for 22)",
           "... or what is not worth a warning");
    memset(path, 'x', 5000);
    path[5000] = '\0';
    found.path = path;
    got = round_trip(&found, &line, p);
    is_int((int)strlen(got.path), FIELD_MAX, "an endless one is cut");
}

static void odd(apr_pool_t *p)
{
    hp_choice_t choice = {NULL, NULL, NULL};

    hp_choice_take(&choice, &(hp_choice_line_t){"/usr/bin/python3\tno third", 25, 7, "/srv"}, p);
    ok(!choice.path, "a line that is none of ours changes nothing");
    is_str(hp_choice_blame(&choice, "It failed", p), "It failed", "... and nothing is blamed");
}

static void notes(apr_pool_t *p)
{
    hp_choice_t choice = {"/usr/bin/python3", "the system's", ""}, got = {NULL, NULL, NULL}, none = {NULL, NULL, NULL};
    ag_frame_t *f = ag_frame_create(p, 1);
    ag_frame_reader_t in;
    apr_size_t len;
    const char *bytes;

    hp_choice_put(f, &choice);
    bytes = ag_frame_data(f, &len);
    ag_frame_open(&in, p, bytes, len);
    hp_choice_get(&in, &got);
    is_int(ag_frame_end(&in), APR_SUCCESS, "a note is read to its end");
    is_str(got.rule, "the system's", "... and says the same");
    f = ag_frame_create(p, 1);
    bytes = ag_frame_data(f, &len);
    ag_frame_open(&in, p, bytes, len);
    hp_choice_get(&in, &none);
    is_int(ag_frame_end(&in), APR_SUCCESS, "one of an earlier version lacks it");
}

int main(void)
{
    apr_pool_t *p;

    apr_initialize();
    apr_pool_create(&p, NULL);
    lines(p);
    odd(p);
    notes(p);
    apr_pool_destroy(p);
    return done_testing();
}
