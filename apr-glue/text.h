/* Small things done to text: escaping, random names. */
#ifndef AG_TEXT_H
#define AG_TEXT_H

#include "apr-glue/base.h"

/* `text` safe in HTML text and quoted attributes; bytes that are no printable ASCII or UTF-8 lead pass through. NULL is "". */
const char *ag_text_html(apr_pool_t *p, const char *text);

/* `digits` random hexadecimal digits from the kernel. */
const char *ag_text_random(apr_pool_t *p, int digits);

/* The sentence for an errno value or APR status. */
const char *ag_text_error(apr_pool_t *p, apr_status_t rv);

#endif
