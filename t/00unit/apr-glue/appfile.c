#include "apr-glue/appfile.c"
#include "t/lib/tap.h"
#include <apr_general.h>
#include <stdio.h>
#include <stdlib.h>

static char folder[] = "/tmp/appfile-XXXXXX";
static apr_pool_t *pool;

static void write_file(const char *text, size_t len)
{
    FILE *f = fopen(apr_pstrcat(pool, folder, "/" AG_APPFILE_NAME, NULL), "w");

    if (!f || fwrite(text, 1, len, f) != len || fclose(f))
        abort();
}

static void good(apr_pool_t *p)
{
    static const char text[] = "\xef\xbb\xbf// how to start it\n{\n  \"app_start_command\": \"./server --url=http://h/ /* x */ \\\"//\", /* \" */\n"
                               "  \"app_type\": \"node\", \"startup_file\": \"dist/main.js\", \"port\": 80, \"environment\": null,\n"
                               "  \"envvars\": {\"A\": \"b=c\", \"_X1\": \"\"} // the end";
    const char *reason = NULL;
    ag_appfile_t file;

    write_file(text, sizeof text - 1);
    write_file(apr_pstrcat(p, text, "\n}", NULL), sizeof text + 1);
    is_int(ag_appfile_read(&file, folder, &reason, p), APR_SUCCESS, "JSON with comments is read");
    is_str(file.command, "./server --url=http://h/ /* x */ \"//", "... but not what looks like comments in a string");
    is_str(file.type, "node", "... its type");
    is_str(file.startup, "dist/main.js", "... its startup file");
    is_int(file.env->nelts, 2, "... two variables");
    is_str(APR_ARRAY_IDX(file.env, 0, const char *), "A=b=c", "... one");
    is_int(file.owner, geteuid(), "... its owner");
    write_file("{}", 2);
    is_int(ag_appfile_read(&file, folder, &reason, p), APR_SUCCESS, "an empty object");
    is_str(file.command, NULL, "... says nothing");
    write_file("{\"app_type\": null, \"envvars\": null} ", 35);
    is_int(ag_appfile_read(&file, folder, &reason, p), APR_SUCCESS, "null is nothing");
}

static void bad(apr_pool_t *p)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "line 1"}, {"{", "line 1"}, {"[]", "one JSON object"}, {"\"x\"", "line 1"}, {"{\n \"a\": 1,\n \"b\" 2\n}", ", line 3, column "},
        {"{\"a\": 1} x", "line 1"}, {"/*", "line 1"}, {"//", "line 1"}, {"{\"a\": \"\n\"}", "line 1"}, {"{\"a\": \"\\", "line 1"},
        {"{\"app_start_command\": 1}", "\"app_start_command\" must be a string"}, {"{\"app_start_command\": \"\"}", "1 to 8192 bytes"},
        {"{\"app_start_command\": \"a\\nb\"}", "one line"}, {"{\"app_type\": \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}", "1 to 32 bytes"},
        {"{\"startup_file\": {}}", "\"startup_file\" must be"}, {"{\"envvars\": []}", "object of strings"}, {"{\"envvars\": {\"A\": 1}}", "\"A\" in"},
        {"{\"envvars\": {\"A=\": \"\"}}", "no name"}, {"{\"envvars\": {\"1\": \"\"}}", "no name"}, {"{\"envvars\": {\"\": \"\"}}", "no name"},
        {"{\"a\": \"\xff\"}", "line 1"}, {"{\"a\": \"\\u0000\"}", "line 1"},
        {"{\x7f\x7f: 1}", "near '?"},
    };
    const char *reason = NULL;
    ag_appfile_t file;

    for (apr_size_t i = 0; i < AG_LEN(cases); i++) {
        write_file(cases[i].text, strlen(cases[i].text));
        is_int(ag_appfile_read(&file, folder, &reason, p), APR_EGENERAL, "wrong contents %d", (int)i);
        ok(reason && strstr(reason, folder) == reason && strstr(reason, cases[i].says), "... because of that: %s", reason);
    }
}

static void sizes(apr_pool_t *p)
{
    char *large = apr_palloc(p, AG_APPFILE_MAX + 1);
    const char *reason = NULL;
    ag_appfile_t file;

    memset(large, ' ', AG_APPFILE_MAX + 1);
    memcpy(large, "{}", 2);
    write_file(large, AG_APPFILE_MAX);
    is_int(ag_appfile_read(&file, folder, &reason, p), APR_SUCCESS, "as large as it may be");
    write_file(large, AG_APPFILE_MAX + 1);
    is_int(ag_appfile_read(&file, folder, &reason, p), APR_EGENERAL, "one byte more is too much");
    memset(large, '[', AG_APPFILE_MAX);
    write_file(large, AG_APPFILE_MAX);
    is_int(ag_appfile_read(&file, folder, &reason, p), APR_EGENERAL, "depth is limited");
}

static void places(apr_pool_t *p)
{
    const char *path = apr_pstrcat(p, folder, "/" AG_APPFILE_NAME, NULL), *reason = NULL;
    ag_appfile_t file;

    unlink(path);
    ok(APR_STATUS_IS_ENOENT(ag_appfile_read(&file, folder, &reason, p)), "no file");
    mkfifo(path, 0600);
    is_int(ag_appfile_read(&file, folder, &reason, p), APR_EGENERAL, "a pipe is not waited for");
    unlink(path);
    mkdir(path, 0700);
    is_int(ag_appfile_read(&file, folder, &reason, p), APR_EGENERAL, "a folder is none");
    rmdir(path);
    rmdir(folder);
}

int main(void)
{
    apr_pool_t *p;

    apr_initialize();
    apr_pool_create(&p, NULL);
    pool = p;
    if (!mkdtemp(folder))
        abort();
    good(p);
    bad(p);
    sizes(p);
    places(p);
    apr_pool_destroy(p);
    apr_terminate();
    return done_testing();
}
