/* Responses whose body is a file that the core has opened as the application's user (AG_LINK_FILE). */
#ifndef MP_SENDFILE_H
#define MP_SENDFILE_H

#include "mod_passenger/mp.h"

/* 1 if the response is such a one: mp_response_begin has taken over its fields. */
int mp_sendfile_is(const request_rec *r);

/* Makes the file the response's body; what the application says of type, date and tag holds. Takes `fd`, which is -1 if none came. OK, or what the
 * handler must return: why there is no file, or what follows from the request's conditions (304, 412). */
int mp_sendfile_begin(request_rec *r, int fd, apr_file_t **pfile);

/* Passes all of it down the filters. `hold`: it is kept below those of the request, for mp_sendfile_push. An error means that the client is
 * gone, or that a filter has answered. */
apr_status_t mp_sendfile_pass(request_rec *r, apr_file_t *file, int hold);

/* Lets a piece of what is held through, as much as the client is sent without waiting if it has taken all before. APR_EOF: that was the last. */
apr_status_t mp_sendfile_push(request_rec *r);

/* Registers the filter that holds. */
void mp_sendfile_register_hooks(apr_pool_t *p);

#endif
