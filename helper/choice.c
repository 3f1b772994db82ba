#include "helper/choice.h"
#include "apr-glue/log.h"
#include <apr_strings.h>
#include <ctype.h>
#include <string.h>

#define FIELD_MAX 2000 /* the whole is less than a line of output may be long */

/* A field must end neither the line nor itself. */
static const char *field(const char *text, apr_pool_t *p)
{
    char *copy = apr_pstrmemdup(p, text, strnlen(text, FIELD_MAX));

    for (char *at = copy; *at; at++) {
        if (iscntrl((unsigned char)*at))
            *at = '?';
    }
    return copy;
}

const char *hp_choice_line(const hp_hints_found_t *found, apr_pool_t *p)
{
    return apr_pstrcat(p, "!> " HP_CHOICE_WORD, field(found->path, p), "\t", field(found->rule, p), "\t", field(found->note, p), NULL);
}

void hp_choice_take(hp_choice_t *choice, const hp_choice_line_t *line, apr_pool_t *p)
{
    char *copy = apr_pstrmemdup(p, line->text, line->len), *rule = strchr(copy, '\t'), *note = rule ? strchr(rule + 1, '\t') : NULL;

    if (!note)
        return;
    *rule++ = *note++ = '\0';
    *choice = (hp_choice_t){field(copy, p), field(rule, p), field(note, p)};
    ag_log(*choice->note ? AG_LOG_WARN : AG_LOG_NOTICE, "PSG1300", "app.interpreter: process %ld of %s: %s (%s)%s%s", (long)line->pid,
           line->app_root, choice->path, choice->rule, *choice->note ? ": " : "", choice->note);
}

void hp_choice_copy(hp_choice_t *choice, const hp_choice_t *from, apr_pool_t *p)
{
    choice->path = apr_pstrdup(p, from->path);
    choice->rule = apr_pstrdup(p, from->rule);
    choice->note = apr_pstrdup(p, from->note);
}

const char *hp_choice_blame(const hp_choice_t *choice, const char *sentence, apr_pool_t *p)
{
    if (choice->path && *choice->note)
        return apr_psprintf(p, "%s (%s; %s was used)", sentence, choice->note, choice->path);
    /* Another version is asked for, and nothing here could have it, which is worth no warning as long as the application starts. */
    if (choice->path && strncmp(choice->rule, HP_HINTS_INSTEAD, sizeof HP_HINTS_INSTEAD - 1) == 0)
        return apr_psprintf(p, "%s (%s was used, which is %s)", sentence, choice->path, choice->rule);
    return sentence;
}

void hp_choice_put(ag_frame_t *f, const hp_choice_t *choice)
{
    ag_frame_put_str(f, choice->path);
    ag_frame_put_str(f, choice->rule);
    ag_frame_put_str(f, choice->note);
}

void hp_choice_get(ag_frame_reader_t *in, hp_choice_t *choice)
{
    if (in->at == in->end)
        return;
    choice->path = ag_frame_get_str(in);
    choice->rule = ag_frame_get_str(in);
    choice->note = ag_frame_get_str(in);
}
