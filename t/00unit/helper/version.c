#include "helper/version.c"
#include "t/lib/tap.h"
#include <apr_general.h>

static apr_array_header_t *list(apr_pool_t *p, const char *text)
{
    apr_array_header_t *names = apr_array_make(p, 8, sizeof(const char *));
    char *state = NULL;

    for (char *word = apr_strtok(apr_pstrdup(p, text), " ", &state); word; word = apr_strtok(NULL, " ", &state))
        APR_ARRAY_PUSH(names, const char *) = word;
    return names;
}

static void words(apr_pool_t *p)
{
    static const char *const node[] = {"nodejs", "node", NULL};
    static const struct {
        const char *text, *expected;
        int tools;
    } cases[] = {
        {"3.11.4\n", "3.11.4", 0},
        {"  3.11.4  ", "3.11.4", 0},
        {"\xef\xbb\xbfruby-3.2.2\r\n", "ruby-3.2.2", 0},
        {"# which\n3.12.1 # newest\n3.11.7\n", "3.12.1 3.11.7", 0},
        {"3.11.7 3.10\n", "3.11.7 3.10", 0},
        {"lts/*", "lts/*", 0},
        {"ruby-3.2.2@shop", "ruby-3.2.2@shop", 0},
        {"../../etc\n/etc/passwd\n3.9/../x\n$(id)\n", "", 0},
        {"", "", 0},
        {"ruby 3.2.2\nnodejs 20.1.0 18.2.0 # both\npython 3.11", "20.1.0 18.2.0", 1},
        {"node 22", "22", 1},
        {"nodejs\n22", "", 1},
    };

    for (apr_size_t i = 0; i < AG_LEN(cases); i++) {
        apr_array_header_t *got = hp_version_words(cases[i].text, cases[i].tools ? node : NULL, p);
        is_str(apr_array_pstrcat(p, got, ' '), cases[i].expected, "words, case %d", (int)i);
    }
}

static void match(apr_pool_t *p)
{
    static const struct {
        const char *wanted, *installed, *expected;
    } cases[] = {
        {"3.11.4", "3.10.1 3.11.4 3.11.40", "3.11.4"},
        {"3.11", "3.11.4 3.11.10 3.12.0 3.110.1", "3.11.10"},
        {"3", "3.9.1 3.11.4 2.7.18", "3.11.4"},
        {"3.1", "3.11.4", NULL},
        {"3.13", "3.13-dev 3.13.0rc1 3.12.1", NULL},
        {"3.13.0rc1", "3.13.0rc1", "3.13.0rc1"},
        {"22", "v18.1.0 v22.3.0 v22.11.0", "v22.11.0"},
        {"v22.3.0", "22.3.0", "22.3.0"},
        {"18.x", "v18.1.0 v18.20.1", "v18.20.1"},
        {"3.2.2", "ruby-3.2.2 ruby-3.2.2@shop", "ruby-3.2.2"},
        {"ruby-3.2", "3.2.1 3.2.9 3.2.10@shop", "3.2.9"},
        {"ruby-3.2.2@shop", "ruby-3.2.2 ruby-3.2.2@shop", "ruby-3.2.2@shop"},
        {"2.0.0", "2.0.0-p648", NULL},
        {"2.0", "2.0.0-p648 2.0.0-rc1", "2.0.0-p648"},
        {"pypy3.10", "pypy3.10-7.3.12 pypy3.10-7.3.15 pypy3.9-7.3.20", "pypy3.10-7.3.15"},
        {"", "v18.1.0 v22.3.0 system", "v22.3.0"},
        {"shop", "3.9.1 shop", "shop"},
        {"3.9", "", NULL},
    };

    for (apr_size_t i = 0; i < AG_LEN(cases); i++)
        is_str(hp_version_match(cases[i].wanted, list(p, cases[i].installed)), cases[i].expected, "\"%s\" among %s", cases[i].wanted,
               cases[i].installed);
}

static void order(void)
{
    static const char *const rising[] = {"2.7", "3.9.1", "3.9.10", "3.10", "3.10.0", "3.10.1", "10"};

    for (apr_size_t i = 0; i + 1 < AG_LEN(rising); i++) {
        ok(hp_version_compare(rising[i], rising[i + 1]) < 0, "%s comes before %s", rising[i], rising[i + 1]);
        ok(hp_version_compare(rising[i + 1], rising[i]) > 0, "... and after");
    }
    is_int(hp_version_compare("3.09", "3.9"), 0, "a zero in front means nothing");
}

static void minor(apr_pool_t *p)
{
    is_str(hp_version_minor("3.11.7", p), "3.11", "major and minor");
    is_str(hp_version_minor("ruby-3.1", p), "3.1", "... behind a prefix");
    is_str(hp_version_minor("22", p), NULL, "... or none");
    is_str(hp_version_minor("pypy3.10-7", p), NULL, "... of something else");
}

int main(void)
{
    apr_pool_t *p;

    apr_initialize();
    apr_pool_create(&p, NULL);
    words(p);
    match(p);
    order();
    minor(p);
    apr_pool_destroy(p);
    return done_testing();
}
