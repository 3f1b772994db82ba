#include "helper/cause.h"
#include "helper/kind.h"
#include <apr_strings.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#define QUOTE_MAX 300 /* bytes of the application's own words in a sentence */

/* The line that begins at `line`, without blanks around it. */
static const char *quote(const char *line, apr_pool_t *p)
{
    apr_size_t len = strcspn(line, "\r\n"), lead = strspn(line, " \t");

    line += lead;
    len -= lead < len ? lead : len;
    if (len > QUOTE_MAX) {
        len = QUOTE_MAX;
        while (len > 0 && ((unsigned char)line[len] & 0xc0) == 0x80)
            len--;
    }
    while (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\t'))
        len--;
    return apr_pstrmemdup(p, line, len);
}

/* "; " and the line that names the cause, or what it said last; or "". */
static const char *last_words(const hp_cause_facts_t *facts, apr_pool_t *p)
{
    const char *words = facts->words, *end, *start;

    start = words && facts->elsewhere ? strstr(words, facts->elsewhere) : NULL;
    if (start)
        return apr_pstrcat(p, ". ", quote(start, p), NULL);
    if (!words || facts->words_cut)
        return "";
    end = words + strlen(words);
    while (end > words && strchr(" \t\r\n", end[-1]))
        end--;
    for (start = end; start > words && start[-1] != '\n'; start--)
        continue;
    return start < end ? apr_pstrcat(p, "; it said last: ", quote(start, p), NULL) : "";
}

/* How it ended, behind "it". */
static const char *manner(int status, apr_pool_t *p)
{
    if (WIFSIGNALED(status))
        return apr_psprintf(p, "was ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    return apr_psprintf(p, "exited with code %d", WEXITSTATUS(status));
}

/* What an exit code, or a signal, means to those who know. */
static const char *meaning(const hp_cause_facts_t *facts, int status)
{
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGKILL ? ", by somebody else or because the system, or its limit, had no memory left" : "";
    if (strcmp(facts->kind, HP_KIND_GENERIC) != 0)
        return WEXITSTATUS(status) == 0 ? hp_kind_advice(facts->kind) : "";
    return WEXITSTATUS(status) == 127   ? ", because its command, or the program that runs it, was not found"
           : WEXITSTATUS(status) == 126 ? ", because its command may not be executed"
           : WEXITSTATUS(status) == 0   ? hp_kind_advice(facts->kind)
                                        : "";
}

const char *hp_cause_of_end(const hp_cause_facts_t *facts, int status, apr_pool_t *p)
{
    if (facts->error)
        return apr_pstrmemdup(p, facts->error, strcspn(facts->error, "\n"));
    if (!facts->greeted && !facts->interpreter)
        return apr_psprintf(p, "the login shell of the application's user %s before it ran the application: correct that user's profile, or set "
                            "PassengerLoadShellEnvvars off%s", manner(status, p), last_words(facts, p));
    if (!facts->greeted)
        return apr_psprintf(p, "the interpreter %s %s before it ran the loader: it is none for this kind of application (%s), or broken%s",
                            facts->interpreter, manner(status, p), facts->kind, last_words(facts, p));
    return apr_psprintf(p, "the application %s before it was ready%s%s", manner(status, p), meaning(facts, status),
                        WIFSIGNALED(status) ? "" : last_words(facts, p));
}

/* The innermost call in a file of the application's, of its first thread, or NULL. */
static const char *place(const hp_cause_facts_t *facts, apr_pool_t *p)
{
    static const char thread[] = "(most recent call first)"; /* Python's first one comes last */
    const char *text = facts->words && facts->asked ? facts->words + facts->stacks : "", *root = apr_pstrcat(p, facts->app_root, "/", NULL);
    const char *found = NULL, *next;

    while ((next = strstr(text, thread)))
        text = next + strlen(thread);
    found = strstr(text, root);
    if (!found && facts->words && facts->asked)
        found = strstr(facts->words + facts->stacks, root);
    while (found && found > facts->words && found[-1] != '\n')
        found--;
    return found ? quote(found, p) : NULL;
}

const char *hp_cause_of_timeout(const hp_cause_facts_t *facts, int seconds, apr_pool_t *p)
{
    const char *where = place(facts, p), *start = "the application was not ready";

    if (!facts->greeted && !facts->interpreter)
        return apr_psprintf(p, "spawn.timeout: %s after %d seconds (PassengerStartTimeout): the login shell of its user did not come so far as to "
                            "run it; look at that user's profile, or set PassengerLoadShellEnvvars off%s", start, seconds, last_words(facts, p));
    if (where)
        return apr_psprintf(p, "spawn.timeout: %s after %d seconds (PassengerStartTimeout): it was at %s", start, seconds, where);
    return apr_psprintf(p, "spawn.timeout: %s after %d seconds (PassengerStartTimeout)%s%s", start, seconds, hp_kind_advice(facts->kind),
                        facts->asked ? "" : last_words(facts, p));
}

const char *hp_cause_details(const char *error, const char *words, apr_pool_t *p)
{
    return error && words ? apr_pstrcat(p, error, "\nIt had printed:\n", words, NULL) : error ? error : words;
}
