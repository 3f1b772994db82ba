/* Fields that end at this hop because Connection names them (RFC 9110 7.6.1). Some never do, whoever names them: those that others rely on, for
 * who asks, what may be seen, or what a body is. A sender that names them is wrong, and often wants to have them taken away. */
#ifndef AG_HOP_H
#define AG_HOP_H

#include "apr-glue/base.h"

/* 1 if the value of a Connection field names this one, and it may be named. */
int ag_hop_names(const char *value, apr_size_t len, const char *name, apr_size_t name_len);

/* 1 if it names any field that may be. */
int ag_hop_names_any(const char *value, apr_size_t len);

#endif
