#include "helper/exhausted.h"
#include "apr-glue/log.h"
#include <string.h>

/* strerror(EMFILE), as C, Python, PHP and Ruby write it, and Node.js with a small letter. */
#define WORDS "oo many open files"

int hp_exhausted_tell(const hp_spec_t *spec, pid_t pid, const char *line, apr_size_t len)
{
    int limit = spec->options->app_file_descriptor_ulimit;

    if (!memmem(line, len, WORDS, strlen(WORDS)))
        return 0;
    ag_log(AG_LOG_WARN, "PSG2302",
           "app.files_limit: process %ld of %s says that it has too many open files; its limit is PassengerAppFileDescriptorUlimit %d: close what is "
           "not needed, or raise that", (long)pid, spec->group, limit > 0 ? limit : 1024);
    return 1;
}
