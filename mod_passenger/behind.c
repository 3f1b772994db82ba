#include "mod_passenger/behind.h"

#include "apr-glue/link.h"
#include "apr-glue/path.h"
#include "mod_passenger/once.h"

#include <apr_strings.h>
#include <apr_user.h>

const char *mp_behind_parent(apr_pool_t *p, const char *path)
{
    apr_size_t n = strlen(path);

    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n > 1 && path[n - 1] != '/')
        n--;
    while (n > 1 && path[n - 1] == '/')
        n--;
    return n ? apr_pstrmemdup(p, path, n) : "/";
}

/* Links above the folder count as well: whoever makes one of them lead to a neighbour's document root has the neighbour's links. */
void mp_behind_look(mp_behind_t *behind, const char *public_dir, apr_pool_t *p)
{
    ag_path_t way;
    int i;

    memset(behind, 0, sizeof *behind);
    behind->folder = public_dir;
    behind->author = AG_LINK_NO_AUTHOR;
    if (ag_path_walk(&way, public_dir, AG_PATH_CLIMB, p) != APR_SUCCESS || !way.target)
        return;
    behind->folder = *way.target == '/' ? way.target : apr_pstrcat(p, mp_behind_parent(p, public_dir), "/", way.target, NULL);
    for (i = 0; i < way.steps->nelts; i++) {
        const ag_path_step_t *passed = &APR_ARRAY_IDX(way.steps, i, ag_path_step_t);

        if (passed->owner == 0 || (!passed->link && i + 1 < way.steps->nelts))
            continue;
        if (behind->author == AG_LINK_NO_AUTHOR) {
            behind->author = passed->owner;
            behind->link = passed->name;
        } else if (passed->owner != behind->author) {
            behind->other = passed->name;
        }
    }
}

/* What decides is the start, which sees more (PassengerUser is granted, files belong to whom). This only names the link, which that cannot. */
static void warn_of_stranger(const mp_behind_t *behind, request_rec *r, const ag_options_t *o, const char *app_root)
{
    apr_finfo_t info;
    apr_uid_t user;
    apr_gid_t group;

    if (apr_stat(&info, app_root, APR_FINFO_USER, r->pool) != APR_SUCCESS || info.user == behind->author)
        return;
    if (o->user && apr_uid_get(&user, &group, o->user, r->pool) == APR_SUCCESS && user == behind->author)
        return;
    if (mp_once(behind->link))
        MP_RLOG(APLOG_WARNING, 0, r, "PSG2500", "the symbolic link %s belongs to uid %lu, but the application %s, to which it leads, to "
                "uid %lu: through that link nothing runs that is not uid %lu's; let the link belong to root or to the application's owner "
                "(chown -h), or name the folder with PassengerAppRoot in a <Location>",
                behind->link, (unsigned long) behind->author, app_root, (unsigned long) info.user, (unsigned long) behind->author);
}

int mp_behind_join(uint32_t *pauthor, const mp_behind_t *behind, request_rec *r, const ag_options_t *o, const char *app_root)
{
    if (behind->author == AG_LINK_NO_AUTHOR)
        return OK;
    if (behind->other || (*pauthor != AG_LINK_NO_AUTHOR && *pauthor != behind->author)) {
        MP_RLOG(APLOG_ERR, 0, r, "PSG2501", "which application is at %s is decided by a symbolic link of uid %lu%s%s, and by %s%s of "
                "somebody else's; let them belong to one user or to root, or name the folder with PassengerAppRoot in a <Location>",
                r->uri, (unsigned long) behind->author, behind->link ? ", " : "", behind->link ? behind->link : "",
                behind->other ? "the link " : "an .htaccess file", behind->other ? behind->other : "");
        return HTTP_FORBIDDEN;
    }
    if (behind->link)
        warn_of_stranger(behind, r, o, app_root);
    *pauthor = behind->author;
    return OK;
}
