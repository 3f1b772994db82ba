#include "helper/cause.h"
#include "helper/kind.h"
#include <apr_strings.h>
#include <string.h>
#include <sys/wait.h>

const char *hp_cause_of_end(const hp_cause_facts_t *facts, int status, apr_pool_t *p)
{
    if (facts->error)
        return apr_pstrmemdup(p, facts->error, strcspn(facts->error, "\n"));
    if (WIFSIGNALED(status))
        return apr_psprintf(p, "the application was ended by signal %d (%s) before it was ready", WTERMSIG(status), strsignal(WTERMSIG(status)));
    return apr_psprintf(p, "the application exited with code %d before it was ready%s", WEXITSTATUS(status),
                        WEXITSTATUS(status) == 0 ? hp_kind_advice(facts->kind) : "");
}
