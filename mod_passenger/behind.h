/* The public folder behind a base URI: often a symbolic link in the document root, where its site's users may write. Whoever could make that link
 * lead elsewhere is an author, as of an .htaccess file (htaccess.h). */
#ifndef MP_BEHIND_H
#define MP_BEHIND_H

#include "mod_passenger/mp.h"
#include "apr-glue/options.h"

/* What a look found. */
typedef struct {
    const char *folder;      /* what the link names, made absolute; no link: the folder asked for */
    uint32_t author;         /* the owner of the links on the way, who is not root; AG_LINK_NO_AUTHOR: there is none */
    const char *link;        /* one of that owner's, or NULL */
    const char *other;       /* one of somebody else's: there can be no application */
} mp_behind_t;

/* Fills *behind. The link at the end is followed once, so that what it names can be a link of the deployment's own. */
void mp_behind_look(mp_behind_t *behind, const char *public_dir, apr_pool_t *p);

/* Makes *pauthor, the author by .htaccess files or AG_LINK_NO_AUTHOR, the author of all. OK, or HTTP_FORBIDDEN if they are two, which is
 * logged then. A link that seems to lead to somebody else's application is warned about, once, after the look that found it. */
int mp_behind_join(uint32_t *pauthor, const mp_behind_t *behind, request_rec *r, const ag_options_t *o, const char *app_root);

/* The folder that `path` lies in; "/" lies in itself. */
const char *mp_behind_parent(apr_pool_t *p, const char *path);

#endif
