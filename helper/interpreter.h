/* Which interpreter runs an application: the one that is named; else what hints.h finds; else the system's.
 *
 * To be called as the application's user. */
#ifndef HP_INTERPRETER_H
#define HP_INTERPRETER_H

#include "apr-glue/settings.h"
#include "helper/hints.h"
#include "helper/kind.h"

/* NULL and all of *found (its rule is "PassengerPython", "found: venv/bin/python" or "the system's"), or a sentence that says why there is none;
 * lives in p. */
const char *hp_interpreter_choose(hp_hints_found_t *found, const hp_hints_ask_t *ask, const ag_settings_t *settings, const ag_options_t *options,
                                  apr_pool_t *p);

#endif
