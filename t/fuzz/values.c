/* What people and their neighbours write: values of directives, environment files, Passengerfile.json. The first byte chooses what the rest is. */
#include "apr-glue/appfile.h"
#include "apr-glue/options.h"
#include "helper/env.h"
#include <apr_general.h>
#include <apr_strings.h>
#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/fuzz-values-XXXXXX";
static char file_path[sizeof folder + sizeof AG_APPFILE_NAME];

static void demand(int holds)
{
    if (!holds)
        abort();
}

static void remove_folder(void)
{
    unlink(file_path);
    rmdir(folder);
}

static void seed(const char *dir, const char *name, const char *text)
{
    char path[4096];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    file = fopen(path, "wb");
    demand(file && fputs(text, file) != EOF && fclose(file) == 0);
}

/* With FUZZ_SEEDS=<folder> the program writes valid texts there and ends. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *dir = getenv("FUZZ_SEEDS");

    (void)argc;
    (void)argv;
    demand(apr_initialize() == APR_SUCCESS);
    if (dir) {
        seed(dir, "options", "0PassengerAppRoot /srv/a\nPassengerMinInstances 3\nPassengerEnvVar A b c\nPassengerBaseURI /x\n"
                              "PassengerAllowOverride App");
        seed(dir, "env", "1# comment\nexport A=\"b\\n$\\\"\" # c\nB='x y'\nIN_PASSENGER=no\nPASSENGER_APP_ENV=x\nPATH=/bin\nLD_PRELOAD=/x");
        seed(dir, "appfile", "2{\"app_start_command\": \"./run\", /* c */ \"app_type\": \"node\", // d\n\"startup_file\": \"a.js\", "
                              "\"envvars\": {\"A\": \"b\"}}");
        exit(0);
    }
    demand(mkdtemp(folder) != NULL);
    snprintf(file_path, sizeof file_path, "%s/%s", folder, AG_APPFILE_NAME);
    demand(atexit(remove_folder) == 0);
    return 0;
}

static int one_line(const char *text)
{
    for (; text && *text; text++) {
        if (iscntrl((unsigned char)*text))
            return 0;
    }
    return 1;
}

/* -- directives: lines "Directive value", as in a configuration file -- */

static const ag_options_row_t *row_of(const char *line, apr_size_t len)
{
    for (int i = 0; i < AG_OPTIONS_ROWS; i++) {
        const ag_options_row_t *row = &ag_options_rows[ag_options_rows[i].meant];
        if (strlen(ag_options_rows[i].directive) == len && strncasecmp(ag_options_rows[i].directive, line, len) == 0)
            return row->kind == AG_OPTIONS_KIND_OPTION || row->kind == AG_OPTIONS_KIND_GLOBAL ? row : NULL;
    }
    return NULL;
}

static const char *packed(const ag_options_t *o, apr_size_t *plen, apr_pool_t *p)
{
    return ag_options_pack(o, p, plen);
}

/* A value is taken as a whole, or the object stays what it was and a sentence names the directive. */
static void set(ag_options_t *o, ag_options_global_t *global, char *line, apr_pool_t *p)
{
    apr_size_t len = strcspn(line, " "), before_len, after_len;
    const ag_options_row_t *row = row_of(line, len);
    const char *before = packed(o, &before_len, p), *problem, *after;
    int option = row && row->kind == AG_OPTIONS_KIND_OPTION;

    if (!row)
        return;
    line += len + (line[len] == ' ');
    problem = ag_options_set(p, option ? (void *)o : (void *)global, row, line);
    after = packed(o, &after_len, p);
    demand(!problem || (strncmp(problem, row->directive, strlen(row->directive)) == 0 && one_line(problem)));
    demand((!problem && option) || (before_len == after_len && memcmp(before, after, after_len) == 0));
    if (!problem && *line)
        demand(row->type == AG_OPTIONS_TYPE_FLAG || row->type == AG_OPTIONS_TYPE_INT || one_line(line));
    if (*line && ag_options_check(p, row, line))
        demand(problem != NULL);
}

/* What was set goes over the wire as it is, with the same digest; merging it into itself changes nothing. */
static void options(char *text, apr_pool_t *p)
{
    static const unsigned char key[16] = "0123456789abcde";
    ag_options_t *o = ag_options_create(p), *back;
    ag_options_global_t *global = ag_options_create_global(p);
    const char *one, *two;
    apr_size_t one_len, two_len;
    char *last;

    for (char *line = apr_strtok(text, "\n", &last); line; line = apr_strtok(NULL, "\n", &last))
        set(o, global, line, p);
    one = packed(o, &one_len, p);
    back = ag_options_unpack(p, one, one_len);
    demand(back != NULL && back->set == o->set);
    two = packed(back, &two_len, p);
    demand(one_len == two_len && memcmp(one, two, one_len) == 0);
    demand(ag_options_digest(o, key, p) == ag_options_digest(back, key, p));
    two = packed(ag_options_merge(p, o, back), &two_len, p);
    demand(one_len == two_len && memcmp(one, two, one_len) == 0);
}

/* -- variables -- */

static int is_pair(const char *pair)
{
    apr_size_t len = strspn(pair, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");

    return len > 0 && pair[len] == '=' && !isdigit((unsigned char)pair[0]);
}

static const char *value_of(const apr_array_header_t *env, const char *name)
{
    const char *found = NULL;
    apr_size_t len = strlen(name);

    for (int i = 0; i < env->nelts; i++) {
        const char *pair = APR_ARRAY_IDX(env, i, const char *);
        if (strncmp(pair, name, len) == 0 && pair[len] == '=') {
            demand(!found); /* no name stands there twice */
            found = pair + len + 1;
        }
    }
    return found;
}

/* Whatever a file says, a process is told what is ours to say, and every variable once. */
static void environment(const apr_array_header_t *pairs, apr_pool_t *p)
{
    hp_spec_t spec = {.group = "g", .app_root = "/srv/a", .kind = "wsgi", .startup_file = "x.py", .base_uri = "", .options = ag_options_create(p)};
    hp_env_user_t user = {"games", "/home/games", "/bin/sh"};
    ag_settings_t settings = {.grants = apr_array_make(p, 1, sizeof(ag_settings_grant_t))};
    hp_env_source_t source = {.spec = &spec, .user = &user, .settings = &settings, .file = pairs};
    hp_env_t env;

    for (int i = 0; i < pairs->nelts; i++)
        demand(is_pair(APR_ARRAY_IDX(pairs, i, const char *)));
    hp_env_make(&env, &source, p);
    for (int i = 0; i < env.all->nelts; i++) {
        const char *pair = APR_ARRAY_IDX(env.all, i, const char *);
        demand(is_pair(pair) && value_of(env.all, apr_pstrmemdup(p, pair, strcspn(pair, "="))) == strchr(pair, '=') + 1);
    }
    demand(strcmp(value_of(env.all, "IN_PASSENGER"), "1") == 0 && strcmp(value_of(env.all, "PASSENGER_APP_ENV"), "production") == 0);
    demand(((const char **)env.all->elts)[env.all->nelts] == NULL);
}

static void env_file(const char *text, apr_pool_t *p)
{
    const char *problem = NULL;
    apr_array_header_t *pairs = hp_env_parse(text, &problem, p);

    demand(pairs ? !problem : problem && one_line(problem) && strncmp(problem, "line ", 5) == 0);
    if (pairs)
        environment(pairs, p);
}

static void appfile(const uint8_t *data, size_t size, apr_pool_t *p)
{
    const char *reason = NULL;
    ag_appfile_t file;
    int fd = open(file_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    demand(fd >= 0 && write(fd, data, size) == (ssize_t)size && close(fd) == 0);
    if (ag_appfile_read(&file, folder, &reason, p) != APR_SUCCESS) {
        demand(reason && one_line(reason) && strncmp(reason, file_path, strlen(file_path)) == 0);
        return;
    }
    demand(one_line(file.command) && one_line(file.type) && one_line(file.startup));
    demand((!file.command || *file.command) && (!file.startup || *file.startup) && (!file.type || *file.type));
    environment(file.env, p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *p;

    if (!size || apr_pool_create(&p, NULL) != APR_SUCCESS)
        return 0;
    switch (data[0] % 3) {
    case 0:
        options(apr_pstrmemdup(p, (const char *)data + 1, size - 1), p);
        break;
    case 1:
        env_file(apr_pstrmemdup(p, (const char *)data + 1, size - 1), p);
        break;
    default:
        appfile(data + 1, size - 1, p);
    }
    apr_pool_destroy(p);
    return 0;
}
