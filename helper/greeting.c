#include "helper/greeting.h"
#include "helper/kind.h"
#include <apr_strings.h>
#include <string.h>

/* A value must not end the line; what an administrator can't have meant is not sent. */
static void put_key(apr_array_header_t *text, const char *key, const char *value)
{
    APR_ARRAY_PUSH(text, const char *) = apr_pstrcat(text->pool, key, ": ", value && !value[strcspn(value, "\r\n")] ? value : "", "\n", NULL);
}

const char *hp_greeting_make(const hp_context_t *ctx, const hp_spec_t *spec, uint64_t id, int may_preload, apr_pool_t *p)
{
    const hp_kind_t *kind = hp_kind_find(spec->kind);
    apr_array_header_t *text = apr_array_make(p, 16, sizeof(const char *));

    APR_ARRAY_PUSH(text, const char *) = "You have control 1.0\n";
    put_key(text, "passenger_root", ctx->data_dir);
    put_key(text, "passenger_version", AG_VERSION);
    put_key(text, "app_root", spec->app_root);
    put_key(text, "startup_file",
            spec->startup_file[0] == '/' ? spec->startup_file : apr_pstrcat(p, spec->app_root, "/", spec->startup_file, NULL));
    put_key(text, "app_type", spec->kind);
    put_key(text, "app_group_name", spec->group);
    put_key(text, "process_title", kind ? kind->title : "");
    put_key(text, "log_level", apr_psprintf(p, "%lu", (unsigned long)ctx->settings->log_level));
    put_key(text, "environment", spec->options->app_env);
    put_key(text, "base_uri", *spec->base_uri ? spec->base_uri : "/");
    put_key(text, "concurrency_model", spec->options->concurrency_model);
    put_key(text, "thread_count", apr_psprintf(p, "%d", spec->options->thread_count));
    put_key(text, "preload_bundler", spec->options->preload_bundler ? "1" : "0");
    put_key(text, "debugger", spec->options->debugger ? "1" : "0");
    put_key(text, "spawn_method", may_preload ? "smart" : "direct");
    put_key(text, "generation", apr_psprintf(p, "%lu", (unsigned long)spec->generation));
    put_key(text, "gupid", apr_psprintf(p, "%lu-%" APR_UINT64_T_FMT, (unsigned long)spec->generation, (apr_uint64_t)id));
    put_key(text, "socket_fd", "3");
    APR_ARRAY_PUSH(text, const char *) = "\n";
    return apr_array_pstrcat(p, text, 0);
}
