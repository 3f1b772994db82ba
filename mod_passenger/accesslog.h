/* What Apache's access logs can say about a request beyond what Apache knows: notes, for LogFormat's %{...}n and for note('...') in expressions. */
#ifndef MP_ACCESSLOG_H
#define MP_ACCESSLOG_H

#include "mod_passenger/link.h"
#include "mod_passenger/map.h"

/* Registers post_config and log_transaction. */
void mp_accesslog_register_hooks(apr_pool_t *p);

/* 1 if the configuration names one of the notes; else nothing is done for them. From post_config on. */
int mp_accesslog_asks(const server_rec *s);

/* Sets the notes from what the core has told. When a request lets go of its link, complete or not; what several links say adds up. */
void mp_accesslog_note(request_rec *r, const mp_map_app_t *app, const mp_link_t *link);

#endif
