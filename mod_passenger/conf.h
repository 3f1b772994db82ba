/* Configuration: the directives as httpd sees them, merged options of a request, and what the helper must know of them. */
#ifndef MP_CONF_H
#define MP_CONF_H

#include "mod_passenger/mp.h"
#include "apr-glue/options.h"
#include "apr-glue/settings.h"

/* For the module record. */
extern const command_rec mp_conf_commands[];
void *mp_conf_create_dir(apr_pool_t *p, char *dir);
void *mp_conf_merge_dir(apr_pool_t *p, void *base, void *add);

/* Registers pre_config, check_config and post_config. */
void mp_conf_register_hooks(apr_pool_t *p);

/* The options that hold for this request; unset ones have their defaults. Never NULL, not to be changed. Costs nothing. */
const ag_options_t *mp_conf_options(const request_rec *r);

/* OK with the author of what .htaccess files say about this request's application, AG_LINK_NO_AUTHOR if they say nothing: it may run as that
 * user only (apr-glue/link.h). HTTP_FORBIDDEN, which is logged then, if there are two. */
int mp_conf_author(request_rec *r, uint32_t *pauthor);

/* What one section (a server's defaults, a <Directory>, a <Location>) sets, or NULL if it has no directive of ours. */
const ag_options_t *mp_conf_section(const ap_conf_vector_t *section);

/* The options of a request as the core is told them. */
typedef struct {
    const ag_options_t *options;
    const char *digest; /* 16 hex digits */
    const char *base64; /* their packed form, or NULL: not made yet */
} mp_conf_wire_t;

/* Fills *wire; `env` takes the place of the request's own environment variables (env.h). What a server or virtual host has was made at start.
 * Where a section or .htaccess adds to that it is made here, in r->pool, at about 1 us: objects from the start are shared between threads
 * and stay as they are. */
void mp_conf_wire(mp_conf_wire_t *wire, const request_rec *r, apr_array_header_t *env);
/* The packed form. */
const char *mp_conf_wire_packed(mp_conf_wire_t *wire, apr_pool_t *p);

/* The options of the whole server. Never NULL once the configuration is being read. */
const ag_options_global_t *mp_conf_global(void);

/* Path of the passenger-helper program; what belongs to it (loaders, error pages) it finds by itself. */
const char *mp_conf_helper_path(void);

/* What the helper must know, all of it but instance_dir, config_generation and grants. Valid from post_config on. */
ag_settings_t *mp_conf_settings(apr_pool_t *p, server_rec *s);

#endif
