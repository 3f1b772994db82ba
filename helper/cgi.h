/* The head of a CGI response (RFC 3875 section 6), as FastCGI applications write it: what HTTP makes of it. Pure. */
#ifndef HP_CGI_H
#define HP_CGI_H

#include "apr-glue/http_head.h"

/* Parses and answers like ag_http_head_parse. The status is that of the field Status; 302 where there is only the Location of another place; else
 * 200, which with a path as Location asks the web server to answer with what is there ("local redirect"). Where the program begins with a status
 * line, that counts ("non-parsed header"). Whatever Connection says, the connection is not the program's to close. Refused is also a head without
 * any field, and an interim status. */
apr_status_t hp_cgi_head(ag_http_head_t *head, const char *data, apr_size_t len, apr_size_t *phead_len, const char **preason) AG_MUST_CHECK;

#endif
