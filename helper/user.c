#include "helper/user.h"
#include <apr_strings.h>
#include <string.h>

typedef struct {
    const ag_settings_t *settings;
    const hp_user_facts_t *facts;
    const hp_user_names_t *names;
    apr_pool_t *p;
    const char **preason;
} ask_t;

static apr_status_t refuse(const ask_t *ask, const char *reason)
{
    *ask->preason = reason;
    return APR_EGENERAL;
}

static apr_status_t default_uid(const ask_t *ask, uint32_t *puid)
{
    *puid = ask->names->uid_of(ask->settings->default_user);
    if (*puid == HP_USER_NONE)
        return refuse(ask, apr_psprintf(ask->p, "there is no user %s (PassengerDefaultUser)", ask->settings->default_user));
    if (*puid == 0)
        return refuse(ask, "applications never run as root; set PassengerDefaultUser to another user, or let the startup file belong to one");
    return APR_SUCCESS;
}

/* The owner of the startup file, if nobody else could have put it there. */
static apr_status_t owner_uid(const ask_t *ask, uint32_t *puid)
{
    const hp_user_facts_t *facts = ask->facts;

    if (facts->file_owner == 0 || ask->names->primary_gid(facts->file_owner) == HP_USER_NONE)
        return default_uid(ask, puid);
    /* A neighbour's file, hard-linked or moved into a folder of one's own, must not make the neighbour's rights available. */
    if (facts->root_owner != 0 && facts->root_owner != facts->file_owner)
        return refuse(ask, apr_psprintf(ask->p,
                                        "the startup file belongs to uid %lu but its folder %s to uid %lu, so it is not clear whose application "
                                        "it is; chown one of them, or set PassengerUser in the server's configuration",
                                        (unsigned long)facts->file_owner, facts->app_root, (unsigned long)facts->root_owner));
    /* Programs look for their parts in their folder first. */
    if (facts->root_owner == 0 && facts->root.st.st_mode & S_IWOTH)
        return refuse(ask, apr_psprintf(ask->p,
                                        "everybody may write into its folder %s, and so decide what uid %lu runs; correct that (chmod o-w), or "
                                        "let the folder belong to that user",
                                        facts->app_root, (unsigned long)facts->file_owner));
    *puid = facts->file_owner;
    return APR_SUCCESS;
}

/* The first folder, before the application's own, where everybody could put another in its place a moment after we looked. */
static const ag_path_step_t *open_folder(const ag_path_t *way)
{
    for (int i = 0; i + 1 < way->steps->nelts; i++) {
        const ag_path_step_t *passed = &APR_ARRAY_IDX(way->steps, i, ag_path_step_t);
        if (passed->open)
            return passed;
    }
    return NULL;
}

static apr_status_t check_folders(const ask_t *ask)
{
    const hp_user_facts_t *facts = ask->facts;
    const ag_path_step_t *open = facts->root.steps && facts->file_owner != 0 ? open_folder(&facts->root) : NULL;

    if (!open)
        return APR_SUCCESS;
    return refuse(ask, apr_psprintf(ask->p, "everybody may write into %s, and so put another application in its place; correct that (chmod o-w %s)",
                                    open->name, open->name));
}

/* A symbolic link of somebody else's may lead elsewhere when the application is loaded, a moment after we looked. */
static apr_status_t check_links(const ask_t *ask, uint32_t uid)
{
    const hp_user_facts_t *facts = ask->facts;
    const ag_path_t *ways[] = {&facts->root, &facts->file};

    for (apr_size_t i = 0; i < AG_LEN(ways); i++) {
        const ag_path_step_t *link = ways[i]->steps ? ag_path_foreign(ways[i], uid, 1) : NULL;
        if (link && link->owner != facts->file_owner)
            return refuse(ask, apr_psprintf(ask->p,
                                            "the symbolic link %s belongs to uid %lu, who could make it lead elsewhere; let it belong to root "
                                            "or to the application's user",
                                            link->name, (unsigned long)link->owner));
    }
    return APR_SUCCESS;
}

/* Apache's children decide the folder and the startup file. What they could have written themselves is run by another user only where the
 * configuration names that very folder. */
static apr_status_t check_web_user(const ask_t *ask, uint32_t uid)
{
    const hp_user_facts_t *facts = ask->facts;
    uint32_t web = ask->settings->web_user ? ask->settings->web_uid : HP_USER_NONE;

    if (web == HP_USER_NONE || web == uid || (facts->root_owner != web && facts->file_owner != web))
        return APR_SUCCESS;
    if (!facts->nested && ag_settings_granted_here(ask->settings, "user", facts->user, facts->app_root))
        return APR_SUCCESS;
    return refuse(ask, apr_psprintf(ask->p, "it belongs to %s, the web server's own user, who must not decide what %s runs; chown it",
                                    ask->settings->web_user, facts->user));
}

/* What an .htaccess file says, or a symbolic link to a public folder, can only concern an application of its author's: one that runs as that
 * user, or that this user has written. */
static apr_status_t check_author(const ask_t *ask, uint32_t uid)
{
    const hp_user_facts_t *facts = ask->facts;

    if (facts->author == HP_USER_NONE || facts->author == 0 || facts->author == uid || facts->author == facts->file_owner)
        return APR_SUCCESS;
    return refuse(ask, apr_psprintf(ask->p,
                                    "an .htaccess file or symbolic link of uid %lu says what is to be run, but that belongs to uid %lu and runs as "
                                    "uid %lu; let them belong to one user, or write it into the server's configuration",
                                    (unsigned long)facts->author, (unsigned long)facts->file_owner, (unsigned long)uid));
}

/* A user who is granted to a folder runs what is that folder's, not whatever file elsewhere a request names. */
static apr_status_t check_file(const ask_t *ask, uint32_t uid)
{
    const hp_user_facts_t *facts = ask->facts;

    int named = facts->startup && ag_settings_granted(ask->settings, "startup_file", facts->startup, facts->app_root);

    if (named || facts->file_owner == 0 || facts->file_owner == uid || facts->file_owner == facts->root_owner ||
        (facts->root_owner == 0 && !facts->nested))
        return APR_SUCCESS;
    return refuse(ask, apr_psprintf(ask->p,
                                    "its startup file belongs to uid %lu, which is neither the user %s nor the owner of %s; chown it, or name it "
                                    "with PassengerStartupFile in the server's configuration",
                                    (unsigned long)facts->file_owner, facts->user, facts->app_root));
}

static apr_status_t named_uid(const ask_t *ask, uint32_t *puid)
{
    const char *name = ask->facts->user;

    if (ask->names->uid_of(name) == ask->facts->file_owner)
        return owner_uid(ask, puid); /* no more than ownership says */
    if (!ag_settings_granted(ask->settings, "user", name, ask->facts->app_root))
        return refuse(ask, apr_psprintf(ask->p, "PassengerUser %s is not granted to %s by the server's configuration", name, ask->facts->app_root));
    *puid = ask->names->uid_of(name);
    if (*puid == HP_USER_NONE)
        return refuse(ask, apr_psprintf(ask->p, "there is no user %s (PassengerUser)", name));
    if (*puid == 0)
        return default_uid(ask, puid);
    return check_file(ask, *puid) == APR_SUCCESS ? check_web_user(ask, *puid) : APR_EGENERAL;
}

static apr_status_t default_gid(const ask_t *ask, uint32_t *pgid)
{
    const char *name = ask->settings->default_group;

    *pgid = name ? ask->names->gid_of(name) : ask->names->primary_gid(ask->names->uid_of(ask->settings->default_user));
    if (*pgid == HP_USER_NONE || *pgid == 0)
        return refuse(ask, "applications never run with root's group; set PassengerDefaultGroup to another group");
    return APR_SUCCESS;
}

static apr_status_t choose_gid(const ask_t *ask, uint32_t uid, uint32_t *pgid)
{
    const char *name = ask->settings->user_switching ? ask->facts->group : NULL;

    if (name && ask->names->gid_of(name) == ask->names->primary_gid(uid))
        name = NULL; /* no more than membership says */
    if (name && !ag_settings_granted(ask->settings, "group", name, ask->facts->app_root))
        return refuse(ask, apr_psprintf(ask->p, "PassengerGroup %s is not granted to %s by the server's configuration", name, ask->facts->app_root));
    if (name && strcmp(name, "!STARTUP_FILE!") == 0)
        *pgid = ask->facts->file_group;
    else if (name)
        *pgid = ask->names->gid_of(name);
    else if (uid == ask->names->uid_of(ask->settings->default_user) && ask->settings->default_group)
        *pgid = ask->names->gid_of(ask->settings->default_group);
    else
        *pgid = ask->names->primary_gid(uid);
    if (name && *pgid == HP_USER_NONE)
        return refuse(ask, apr_psprintf(ask->p, "there is no group %s (PassengerGroup)", name));
    return *pgid == HP_USER_NONE || *pgid == 0 ? default_gid(ask, pgid) : APR_SUCCESS;
}

apr_status_t hp_user_choose(hp_user_t *user, const ag_settings_t *settings, const hp_user_facts_t *facts, const hp_user_names_t *names,
                            const char **preason, apr_pool_t *p)
{
    ask_t ask = {.settings = settings, .facts = facts, .names = names, .p = p, .preason = preason};
    uint32_t uid, gid;
    apr_status_t rv;

    if (!settings->user_switching)
        rv = default_uid(&ask, &uid);
    else if (facts->user)
        rv = named_uid(&ask, &uid);
    else
        rv = owner_uid(&ask, &uid);
    if (rv == APR_SUCCESS && settings->user_switching)
        rv = check_links(&ask, uid);
    if (rv == APR_SUCCESS && settings->user_switching)
        rv = check_folders(&ask);
    if (rv == APR_SUCCESS)
        rv = check_author(&ask, uid);
    if (rv == APR_SUCCESS)
        rv = choose_gid(&ask, uid, &gid);
    if (rv != APR_SUCCESS)
        return rv;
    assert(uid != 0 && gid != 0);
    user->uid = uid;
    user->gid = gid;
    return APR_SUCCESS;
}
