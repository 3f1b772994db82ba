/* Who an application runs as: a pure decision over what was found, so that every case of it can be tested. */
#ifndef HP_USER_H
#define HP_USER_H

#include "apr-glue/path.h"
#include "apr-glue/settings.h"

/* Facts. A uid or gid of HP_USER_NONE means that there is none. */
#define HP_USER_NONE ((uint32_t)-1)

typedef struct {
    const char *app_root;
    uint32_t root_owner;           /* of the application's folder */
    uint32_t file_owner, file_group; /* of the startup file; of the folder where there is none; a symlink counts as itself */
    const char *user, *group;      /* PassengerUser and PassengerGroup, or NULL */
    uint32_t author;               /* whose .htaccess file or link has a say; HP_USER_NONE: nobody's but root's */
    const char *startup;           /* the startup file, as it was named; NULL: unknown */
    int nested;                    /* the startup file is not directly in the folder */
    ag_path_t root, file;          /* the ways there; steps may be NULL */
} hp_user_facts_t;

/* How names become numbers; tests bring their own. NONE where there is no such name or number. */
typedef struct {
    uint32_t (*uid_of)(const char *name);
    uint32_t (*gid_of)(const char *name);
    uint32_t (*primary_gid)(uint32_t uid); /* NONE: the uid is not in the user database */
} hp_user_names_t;

typedef struct {
    uint32_t uid, gid;
} hp_user_t;

/* Decides for a helper that may switch users. On refusal *preason is a sentence for the administrator, in pool p. Never yields 0. */
apr_status_t hp_user_choose(hp_user_t *user, const ag_settings_t *settings, const hp_user_facts_t *facts, const hp_user_names_t *names,
                            const char **preason, apr_pool_t *p) AG_MUST_CHECK;

#endif
