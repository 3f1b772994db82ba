/* What runs beside an application's processes, as its user: the scribe that writes its log, the porter that opens its files. */
#ifndef HP_ATTENDANTS_H
#define HP_ATTENDANTS_H

#include "helper/applog.h"
#include "helper/courier.h"

typedef struct {
    hp_applog_t *log;
    hp_courier_t *courier;
} hp_attendants_t;

/* As applog.h and courier.h say of each. */
void hp_attendants_create(hp_attendants_t *attendants, hp_context_t *ctx, const hp_config_t *config, apr_pool_t *p);
void hp_attendants_adopt(hp_attendants_t *attendants, hp_process_t *process);
void hp_attendants_rest(hp_attendants_t *attendants, int running);
void hp_attendants_destroy(hp_attendants_t *attendants);

#endif
