#include "helper/attendants.h"

void hp_attendants_create(hp_attendants_t *attendants, hp_context_t *ctx, const hp_config_t *config, apr_pool_t *p)
{
    attendants->log = hp_applog_create(ctx, config, p);
    attendants->courier = hp_courier_create(ctx, config, p);
}

void hp_attendants_adopt(hp_attendants_t *attendants, hp_process_t *process)
{
    if (process->spec->errand == HP_SPEC_PORTER)
        hp_courier_adopt(attendants->courier, process);
    else
        hp_applog_adopt(attendants->log, process);
}

void hp_attendants_rest(hp_attendants_t *attendants, int running)
{
    hp_applog_rest(attendants->log, running);
    hp_courier_rest(attendants->courier, running);
}

void hp_attendants_destroy(hp_attendants_t *attendants)
{
    hp_applog_destroy(&attendants->log);
    hp_courier_destroy(&attendants->courier);
}
