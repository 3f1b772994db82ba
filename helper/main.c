/* One program, four roles; the first argument says which. Nobody starts it by hand. */
#include "apr-glue/build.h"
#include "apr-glue/log.h"
#include "apr-glue/memory.h"
#include "helper/core.h"
#include "helper/looker.h"
#include "helper/prepare.h"
#include "helper/watchdog.h"
#include <apr_general.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    const char *role = argc > 1 ? argv[1] : "";

    if (apr_initialize() != APR_SUCCESS)
        return 1;
    ag_memory_guard();
    if (strcmp(role, "watchdog") == 0 && argc <= 3) {
        ag_log_set_role("passenger-watchdog");
        return hp_watchdog_run(argv[2]);
    }
    if (strcmp(role, "core") == 0 && argc == 4) {
        ag_log_set_role("passenger-core");
        return hp_core_run(argv[2], argv[3]);
    }
    if (strcmp(role, "looker") == 0 && argc == 2) {
        ag_log_set_role("passenger-looker");
        return hp_looker_run();
    }
    if (strcmp(role, "prepare") == 0 && (argc == 4 || argc == 5)) /* a watchdog of an earlier version may ask */
        return hp_prepare_run(argv[2], argv[3], argc == 5 ? argv[4] : "0");
    if (strcmp(role, "--version") == 0) {
        printf("mod_passenger " AG_VERSION " (build %s)\n", ag_build_id());
        return 0;
    }
    fprintf(stderr, "This is mod_passenger's helper; Apache starts it when the module is loaded.\n");
    return 2;
}
