/* What a configuration says that nobody can have meant: told where its author looks, once. */
#ifndef MP_MISTAKE_H
#define MP_MISTAKE_H

#include "mod_passenger/mp.h"
#include "apr-glue/options.h"

/* Warns, when the configuration is tested and when it is taken, of folders and files in it that do not exist; and, when Apache has refused a request,
 * of what keeps it from a document root called `public`. */
void mp_mistake_register_hooks(apr_pool_t *p);

/* Nothing at `folder` is an application, so Apache has the request to itself. If something says that one was meant (PassengerAppRoot,
 * PassengerBaseURI, ..., or a startup file in the document root), that is warned about, once for each reading of the configuration; where errors
 * are shown (PassengerFriendlyErrorPages) the page that Apache may answer with says it, too. `fresh`: the folder was looked at just now. */
void mp_mistake_no_app(request_rec *r, const ag_options_t *o, const char *folder, const char *base_uri, int fresh);

/* Apache may not see whether there is an application in `root`, because of what is in the way of `path`: says who lacks which right on what,
 * once for each reading of the configuration. */
void mp_mistake_denied(request_rec *r, const ag_options_t *o, const char *root, const char *path);

#endif
