#include "apr-glue/settings.c"
#include "t/lib/tap.h"
#include <apr_general.h>

static ag_settings_t *sample(apr_pool_t *p)
{
    static const ag_settings_grant_t grants[] = {{"user", "deploy", "/srv/shop"}, {"python", "/opt/py", "/"}, {"group", "staff", "/srv/a/"}};
    ag_settings_t *s = apr_pcalloc(p, sizeof *s);
    apr_array_header_t *urls;

    s->build_id = "0123456789abcdef";
    s->registry_dir = "/run/x";
    s->data_dir = "/var/tmp";
    s->default_user = "nobody";
    s->default_ruby = "/opt/ruby/bin/ruby";
    s->web_uid = 33;
    s->max_pool_size = 6;
    s->grants = apr_array_make(p, 3, sizeof(ag_settings_grant_t));
    for (apr_size_t i = 0; i < AG_LEN(grants); i++)
        APR_ARRAY_PUSH(s->grants, ag_settings_grant_t) = grants[i];
    urls = apr_array_make(p, 1, sizeof(const char *));
    APR_ARRAY_PUSH(urls, const char *) = "http://shop.example/";
    s->pre_start = urls;
    return s;
}

static ag_settings_t *there_and_back(apr_pool_t *p, const ag_settings_t *s, apr_status_t *prv)
{
    ag_frame_t *f = ag_frame_create(p, AG_CTL_SETTINGS);
    ag_frame_reader_t in;
    apr_size_t len;
    const char *data;
    ag_settings_t *got;

    ag_settings_put(f, s);
    data = ag_frame_data(f, &len);
    ag_frame_open(&in, p, data, len);
    got = ag_settings_get(&in);
    *prv = ag_frame_end(&in);
    return got;
}

static void round_trip(apr_pool_t *p)
{
    ag_settings_t *s = sample(p), *got;
    apr_status_t rv;

    got = there_and_back(p, s, &rv);
    is_int(rv, APR_SUCCESS, "settings travel");
    is_str(got->build_id, "0123456789abcdef", "... with the build id");
    is_str(got->instance_dir, NULL, "... with what is not there");
    is_str(got->default_ruby, "/opt/ruby/bin/ruby", "... with the Ruby for all");
    is_int(got->web_uid, 33, "... with numbers");
    is_int(got->grants->nelts, 3, "... with grants");
    is_str(APR_ARRAY_IDX(got->grants, 0, ag_settings_grant_t).root, "/srv/shop", "... and their places");
    is_int(got->pre_start->nelts, 1, "... with URLs");
    is_str(APR_ARRAY_IDX(got->pre_start, 0, const char *), "http://shop.example/", "... that are the same");
    s->pre_start = NULL;
    is_int(there_and_back(p, s, &rv)->pre_start->nelts, 0, "no URLs are an empty list");
    is_int(rv, APR_SUCCESS, "... that travels too");
    s->default_user = NULL;
    there_and_back(p, s, &rv);
    is_int(rv, APR_EGENERAL, "without a default user they are refused");
}

static void grants(apr_pool_t *p)
{
    static const struct {
        int granted;
        const char *option, *value, *root;
    } cases[] = {
        {1, "user", "deploy", "/srv/shop"},
        {1, "user", "deploy", "/srv/shop/v2"},
        {0, "user", "deploy", "/srv/shopping"},
        {0, "user", "deploy", "/srv"},
        {0, "user", "deploy", "/"},
        {0, "user", "root", "/srv/shop"},
        {0, "group", "deploy", "/srv/shop"},
        {0, "user", "deploy", "/srv/shop/../other"},
        {0, "user", "deploy", "/srv/shop/.."},
        {0, "user", "deploy", "/srv/shop/x/.."},
        {0, "user", "deploy", "srv/shop"},
        {0, "user", "", "/srv/shop"},
        {1, "python", "/opt/py", "/anywhere"},
        {0, "python", "/opt/py2", "/anywhere"},
        {1, "group", "staff", "/srv/a"},
        {1, "group", "staff", "/srv/a/b"},
    };
    const ag_settings_t *s = sample(p);

    for (apr_size_t i = 0; i < AG_LEN(cases); i++)
        is_int(ag_settings_granted(s, cases[i].option, cases[i].value, cases[i].root), cases[i].granted, "%s %s at %s", cases[i].option,
               cases[i].value, cases[i].root);
    is_int(ag_settings_granted_here(s, "user", "deploy", "/srv/shop/"), 1, "the very folder");
    is_int(ag_settings_granted_here(s, "user", "deploy", "/srv/shop/v2"), 0, "... not one below");
    is_int(ag_settings_granted_here(s, "python", "/opt/py", "/srv"), 0, "... not for what is granted everywhere");
}

int main(void)
{
    apr_pool_t *p;

    apr_initialize();
    apr_pool_create(&p, NULL);
    round_trip(p);
    grants(p);
    apr_terminate();
    return done_testing();
}
