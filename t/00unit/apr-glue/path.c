#include "apr-glue/path.c"
#include "t/lib/tap.h"
#include <apr_general.h>
#include <stdlib.h>

static const char *dir;
static apr_pool_t *pool;

static const char *in(const char *name)
{
    return apr_pstrcat(pool, dir, "/", name, NULL);
}

static ag_path_t walk(const char *name, int follow, apr_status_t want, const char *what)
{
    ag_path_t path;
    apr_status_t rv = ag_path_walk(&path, name, follow, pool);

    is_int(rv, want, "%s", what);
    return path;
}

static void link_to(const char *target, const char *name)
{
    if (symlink(target, in(name)))
        ok(0, "symlink %s", name);
}

static void climbing(void)
{
    static const char *const climb[] = {"/..", "/../", "/a/..", "/a/../b", "a/.."};
    static const char *const stay[] = {"/", "/a", "/a/..b", "/a/b..", "/a/.../b", "/a/.", ""};

    for (apr_size_t i = 0; i < AG_LEN(climb); i++)
        ok(ag_path_climbs(climb[i]), "\"%s\" climbs", climb[i]);
    for (apr_size_t i = 0; i < AG_LEN(stay); i++)
        ok(!ag_path_climbs(stay[i]), "\"%s\" does not", stay[i]);
}

int main(void)
{
    char template[] = "/tmp/psg-path-XXXXXX", *made;
    ag_path_t path;
    uint32_t me = geteuid();

    apr_initialize();
    apr_pool_create(&pool, NULL);
    made = mkdtemp(template);
    dir = made ? realpath(made, NULL) : NULL;
    if (!dir || mkdir(in("a"), 0755) || mkdir(in("a/b"), 0755))
        return 1;
    link_to("a/b", "rel");
    link_to(in("a"), "abs");
    link_to("../abs/b/", "a/up");
    link_to("loop", "loop");
    link_to("nowhere", "dangling");

    path = walk(in("a//b/"), 1, APR_SUCCESS, "folders");
    ok(S_ISDIR(path.st.st_mode), "... lead to a folder");
    is_str(APR_ARRAY_IDX(path.steps, path.steps->nelts - 1, ag_path_step_t).name, in("a/b"), "... whose name is the last step");
    ok(!ag_path_foreign(&path, me, 0), "... nobody else has a hand in it");
    ok(me == 0 || ag_path_foreign(&path, me + 1, 0), "... somebody else would see one");
    ok(!ag_path_foreign(&path, me + 1, 1), "... but no link");
    path = walk(in("a/up"), 1, APR_SUCCESS, "links to links");
    ok(S_ISDIR(path.st.st_mode), "... are followed");
    ok(me == 0 || ag_path_foreign(&path, me + 1, 1), "... and seen");
    path = walk(in("rel"), 0, APR_SUCCESS, "a link at the end");
    ok(S_ISLNK(path.st.st_mode), "... is not followed if not wanted");
    is_str(path.target, "a/b", "... but read");
    ok(!ag_path_foreign(&path, me + 1, 1), "... and counts as the end then");
    path = walk(in("abs/b"), 0, APR_SUCCESS, "a link in the middle");
    ok(S_ISDIR(path.st.st_mode), "... is followed all the same");
    ok(!path.target, "... and what stands at the end leads nowhere");
    path = walk("/", 1, APR_SUCCESS, "the root");
    ok(S_ISDIR(path.st.st_mode) && path.steps->nelts == 0, "... has no steps");
    walk(in("loop"), 1, ELOOP, "a loop");
    walk(in("dangling"), 1, ENOENT, "a link to nowhere");
    walk(in("a/b/c"), 1, ENOENT, "what is not there");
    walk(in("a/../a"), 1, EINVAL, "a way up");
    walk(in("a/.."), 1, EINVAL, "a way up at the end");
    walk("a", 1, EINVAL, "a relative name");
    walk("", 1, EINVAL, "no name");
    if (me == 0) {
        if (lchown(in("abs"), 4711, 4711) || chown(in("a"), 4712, 4712))
            ok(0, "chown");
        path = walk(in("a/up"), 1, APR_SUCCESS, "a stranger's link");
        is_int(ag_path_foreign(&path, 4712, 1)->owner, 4711, "... is found");
        ok(!ag_path_foreign(&path, 4711, 1), "... unless it is the user's own");
        is_int(ag_path_foreign(&path, 4711, 0)->owner, 4712, "a stranger's folder");
    }
    for (const char *const *name = (const char *const[]){"rel", "abs", "a/up", "loop", "dangling", NULL}; *name; name++)
        unlink(in(*name));
    rmdir(in("a/b"));
    rmdir(in("a"));
    rmdir(dir);
    apr_terminate();
    climbing();
    return done_testing();
}
