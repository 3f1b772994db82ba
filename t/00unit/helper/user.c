#include "helper/user.c"
#include "t/lib/tap.h"
#include <apr_general.h>
#include <stdlib.h>

/* A user database: root 0, nobody 99 in 99, eve 1000 in 1000, bob 1001 in 0, web 33. */
static uint32_t uid_of(const char *name)
{
    static const struct {
        const char *name;
        uint32_t uid;
    } users[] = {{"root", 0}, {"nobody", 99}, {"eve", 1000}, {"bob", 1001}, {"web", 33}};

    for (apr_size_t i = 0; i < AG_LEN(users); i++) {
        if (strcmp(users[i].name, name) == 0)
            return users[i].uid;
    }
    return HP_USER_NONE;
}

static uint32_t gid_of(const char *name)
{
    return strcmp(name, "root") == 0 ? 0 : strcmp(name, "staff") == 0 ? 50 : strcmp(name, "eve") == 0 ? 1000 : HP_USER_NONE;
}

static uint32_t primary_gid(uint32_t uid)
{
    return uid == 1000 ? 1000 : uid == 99 ? 99 : uid == 33 ? 33 : uid == 1001 || uid == 0 ? 0 : HP_USER_NONE;
}

static const hp_user_names_t names = {uid_of, gid_of, primary_gid};

typedef struct {
    const char *what;
    hp_user_facts_t facts;
    long uid, gid; /* 0: refused */
} case_t;

#define FACTS(folder, owner, file, group_of_file, name, group_name) \
    .app_root = folder, .root_owner = owner, .file_owner = file, .file_group = group_of_file, .user = name, .group = group_name

/* Grants: user bob, nobody, root and group staff below /granted. */
static const case_t cases[] = {
    {"the owner", {FACTS("/a", 1000, 1000, 1000, NULL, NULL)}, 1000, 1000},
    {"root's folder, eve's file", {FACTS("/a", 0, 1000, 1000, NULL, NULL)}, 1000, 1000},
    {"root's file", {FACTS("/a", 0, 0, 0, NULL, NULL)}, 99, 99},
    {"eve's folder, root's file", {FACTS("/a", 1000, 0, 0, NULL, NULL)}, 99, 99},
    {"eve's folder, bob's file", {FACTS("/a", 1000, 1001, 0, NULL, NULL)}, 0, 0},
    {"an owner who is not in the database", {FACTS("/a", 4711, 4711, 4711, NULL, NULL)}, 99, 99},
    {"an owner whose group is root's", {FACTS("/a", 1001, 1001, 0, NULL, NULL)}, 1001, 99},
    {"a user who is the owner", {FACTS("/a", 1000, 1000, 1000, "eve", NULL)}, 1000, 1000},
    {"a user who is not", {FACTS("/a", 1000, 1000, 1000, "bob", NULL)}, 0, 0},
    {"... but is granted", {FACTS("/granted/a", 1000, 1000, 1000, "bob", NULL)}, 1001, 99},
    {"... granted elsewhere", {FACTS("/grantedx", 1000, 1000, 1000, "bob", NULL)}, 0, 0},
    {"root", {FACTS("/a", 1000, 1000, 1000, "root", NULL)}, 0, 0},
    {"root, even granted", {FACTS("/granted", 1000, 1000, 1000, "root", NULL)}, 99, 99},
    {"root for root's file", {FACTS("/a", 0, 0, 0, "root", NULL)}, 99, 99},
    {"nobody by that name", {FACTS("/granted", 1000, 1000, 1000, "mallory", NULL)}, 0, 0},
    {"no name", {FACTS("/a", 1000, 1000, 1000, "", NULL)}, 0, 0},
    {"a group of one's own", {FACTS("/a", 1000, 1000, 1000, NULL, "eve")}, 1000, 1000},
    {"a group that is not granted", {FACTS("/a", 1000, 1000, 1000, NULL, "staff")}, 0, 0},
    {"a group that is", {FACTS("/granted/a", 1000, 1000, 1000, NULL, "staff")}, 1000, 50},
    {"root's group", {FACTS("/a", 1000, 1000, 1000, NULL, "root")}, 0, 0},
    {"a group that does not exist", {FACTS("/a", 1000, 1000, 1000, NULL, "nosuch")}, 0, 0},
    {"the owner's .htaccess", {FACTS("/a", 1000, 1000, 1000, NULL, NULL), .author = 1000}, 1000, 1000},
    {"a stranger's .htaccess", {FACTS("/a", 1000, 1000, 1000, NULL, NULL), .author = 1001}, 0, 0},
    {"nobody's .htaccess", {FACTS("/a", 1000, 1000, 1000, NULL, NULL), .author = HP_USER_NONE}, 1000, 1000},
    {"a user's .htaccess for root's file", {FACTS("/a", 0, 0, 0, NULL, NULL), .author = 1000}, 0, 0},
    {"an .htaccess of the user who is granted", {FACTS("/granted/a", 1000, 1000, 1000, "bob", NULL), .author = 1001}, 1001, 99},
    {"an .htaccess of the owner, another user is granted", {FACTS("/granted/a", 1000, 1000, 1000, "bob", NULL), .author = 1000}, 1001, 99},
    {"a stranger's file, a user who is granted", {FACTS("/granted/a", 0, 1000, 1000, "bob", NULL), .nested = 1}, 0, 0},
    {"... in root's own folder", {FACTS("/granted/a", 0, 1000, 1000, "bob", NULL)}, 1001, 99},
    {"... in another stranger's folder", {FACTS("/granted/a", 33, 1000, 1000, "bob", NULL)}, 0, 0},
    {"... that the configuration names", {FACTS("/granted/a", 0, 1000, 1000, "bob", NULL), .nested = 1, .startup = "src/x.py"}, 1001, 99},
};

/* Links on the way to the application, and what Apache's own user (33) could have written. */
static void ways(const ag_settings_t *settings, apr_pool_t *p)
{
    static const struct {
        const char *what;
        hp_user_facts_t facts;
        uint32_t link; /* owner of the symbolic link */
        long uid;
        mode_t mode; /* of the application's folder */
        int open;    /* everybody may write to the folder above it */
    } more[] = {
        {"root's link", {FACTS("/a", 1000, 1000, 1000, NULL, NULL)}, .link = 0, .uid = 1000},
        {"the owner's link", {FACTS("/a", 1000, 1000, 1000, NULL, NULL)}, .link = 1000, .uid = 1000},
        {"a stranger's link", {FACTS("/a", 1000, 1000, 1000, NULL, NULL)}, .link = 33, .uid = 0},
        {"a stranger's link to root's file", {FACTS("/a", 0, 0, 0, NULL, NULL)}, .link = 33, .uid = 0},
        {"a stranger's link, a user who is granted", {FACTS("/granted", 1000, 1000, 1000, "bob", NULL)}, .link = 33, .uid = 0},
        {"the owner's link, a user who is granted", {FACTS("/granted", 1000, 1000, 1000, "bob", NULL)}, .link = 1000, .uid = 1001},
        {"the web user's own application", {FACTS("/b", 33, 33, 33, NULL, NULL)}, .link = 0, .uid = 33},
        {"the web user's folder, named by the configuration", {FACTS("/granted", 33, 33, 33, "bob", NULL)}, .link = 0, .uid = 1001},
        {"... but a file further down", {.nested = 1, FACTS("/granted", 0, 33, 33, "bob", NULL)}, .link = 0, .uid = 0},
        {"the web user's folder below a granted one", {FACTS("/granted/uploads", 33, 33, 33, "bob", NULL)}, .link = 0, .uid = 0},
        {"the web user's file in it", {FACTS("/granted/x", 0, 33, 33, "bob", NULL)}, .link = 0, .uid = 0},
        {"a folder of root's that all may write", {FACTS("/a", 0, 1000, 1000, NULL, NULL)}, .link = 0, .uid = 0, .mode = 01777},
        {"... with a file of root's", {FACTS("/a", 0, 0, 0, NULL, NULL)}, .link = 0, .uid = 99, .mode = 0777},
        {"one of the owner's", {FACTS("/a", 1000, 1000, 1000, NULL, NULL)}, .link = 0, .uid = 1000, .mode = 0777},
        {"below one", {FACTS("/a/b", 1000, 1000, 1000, NULL, NULL)}, .link = 0, .uid = 0, .mode = 0755, .open = 1},
        {"below one, root's file", {FACTS("/a/b", 0, 0, 0, NULL, NULL)}, .link = 0, .uid = 99, .mode = 0755, .open = 1},
    };

    for (apr_size_t i = 0; i < AG_LEN(more); i++) {
        hp_user_facts_t facts = more[i].facts;
        hp_user_t user = {0, 0};
        const char *reason;

        facts.root.steps = apr_array_make(p, 2, sizeof(ag_path_step_t));
        facts.root.st.st_mode = more[i].mode;
        APR_ARRAY_PUSH(facts.root.steps, ag_path_step_t) = (ag_path_step_t){"/link", more[i].link, 1, more[i].open};
        APR_ARRAY_PUSH(facts.root.steps, ag_path_step_t) = (ag_path_step_t){"/link/end", facts.root_owner, 0, 1};
        ok((hp_user_choose(&user, settings, &facts, &names, &reason, p) == APR_SUCCESS) == (more[i].uid != 0), "%s: %s", more[i].what,
           more[i].uid ? "taken" : "refused");
        is_int(user.uid, more[i].uid, "%s: the user", more[i].what);
    }
}

int main(void)
{
    static const ag_settings_grant_t grants[] = {
        {"user", "bob", "/granted"}, {"user", "root", "/granted"}, {"user", "mallory", "/granted"}, {"group", "staff", "/granted"},
        {"startup_file", "src/x.py", "/granted"}};
    ag_settings_t settings = {.user_switching = 1, .default_user = "nobody", .web_user = "web", .web_uid = 33};
    apr_pool_t *p;

    apr_initialize();
    apr_pool_create(&p, NULL);
    settings.grants = apr_array_make(p, 4, sizeof(ag_settings_grant_t));
    for (apr_size_t i = 0; i < AG_LEN(grants); i++)
        APR_ARRAY_PUSH(settings.grants, ag_settings_grant_t) = grants[i];
    for (apr_size_t i = 0; i < AG_LEN(cases); i++) {
        hp_user_t user = {0, 0};
        const char *reason = NULL;
        apr_status_t rv = hp_user_choose(&user, &settings, &cases[i].facts, &names, &reason, p);

        is_int(user.uid, cases[i].uid, "%s: the user", cases[i].what);
        is_int(user.gid, cases[i].gid, "%s: the group", cases[i].what);
        ok((rv == APR_SUCCESS) == (cases[i].uid != 0) && (rv == APR_SUCCESS || (reason && *reason)), "%s: a reason if refused", cases[i].what);
    }
    ways(&settings, p);
    apr_terminate();
    return done_testing();
}
