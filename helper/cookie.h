/* The cookie that leads a visitor back to the process that served before. */
#ifndef HP_COOKIE_H
#define HP_COOKIE_H

#include "apr-glue/base.h"

/* The number in the first cookie `name` of a Cookie field's value (RFC 6265 4.2.1); 0 if there is none, or it is no number. `cookies` may be
 * NULL. */
uint32_t hp_cookie_number(const char *cookies, const char *name);

/* What such a cookie is made of, but for the number, for a path ("" is the root) that is not encoded yet; the caller's, to be freed. */
char *hp_cookie_template(const char *name, const char *path, const char *attributes);
/* The response field with this number, with its line end; the caller's, to be freed. */
char *hp_cookie_field(const char *template, uint32_t number);

#endif
