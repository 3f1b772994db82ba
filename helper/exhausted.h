/* What an application says when it has no descriptors left. */
#ifndef HP_EXHAUSTED_H
#define HP_EXHAUSTED_H

#include "helper/spec.h"

/* 1 if the line, which process `pid` has printed, says so: then the log says where the limit comes from. */
int hp_exhausted_tell(const hp_spec_t *spec, pid_t pid, const char *line, apr_size_t len);

#endif
