/* The numbers that root's configuration allows an application, wherever a request got its own from. Requests come from children of Apache, and one
 * of those may be in wrong hands: it gets what an .htaccess file of the application's owner could get, and no more. */
#ifndef HP_BOUNDS_H
#define HP_BOUNDS_H

#include "apr-glue/options.h"
#include "apr-glue/settings.h"

/* By folder, as far as they were asked for. */
typedef struct hp_bounds_t hp_bounds_t;

hp_bounds_t *hp_bounds_create(apr_pool_t *p);
/* The settings are others now. */
void hp_bounds_forget(hp_bounds_t *bounds);
/* The most of each option with AG_OPTIONS_CAP for an application at `app_root`; of those that are not set, any number is allowed. Valid until the
 * next call. */
const ag_options_t *hp_bounds_find(hp_bounds_t *bounds, const ag_settings_t *settings, const char *app_root);

/* The number that `o` has for a row with AG_OPTIONS_CAP. */
int hp_bounds_number(const ag_options_t *o, const ag_options_row_t *row);
/* Lowers what is more; the first option that was, or NULL. */
const ag_options_row_t *hp_bounds_lower(ag_options_t *o, const ag_options_t *most);

#endif
