#include "helper/render.h"
#include "apr-glue/text.h"
#include <apr_strings.h>
#include <apr_tables.h>
#include <apr_time.h>
#include <stdarg.h>
#include <string.h>

typedef struct {
    apr_pool_t *p;
    apr_array_header_t *parts; /* of const char * */
    int verbose;
} out_t;

AG_PRINTF(2, 3) static void say(out_t *out, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    APR_ARRAY_PUSH(out->parts, const char *) = apr_pvsprintf(out->p, fmt, args);
    va_end(args);
}

static out_t begin(apr_pool_t *p, int verbose)
{
    return (out_t){.p = p, .parts = apr_array_make(p, 64, sizeof(const char *)), .verbose = verbose};
}

/* -- the document's members; what is not there is 0, or "" -- */

static apr_int64_t number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static double real(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));

    return value ? value : "";
}

static int is(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

/* -- text -- */

/* "1d 2h 3m 4s", without leading zeros. */
static const char *duration(double seconds, apr_pool_t *p)
{
    apr_int64_t s = seconds > 0 ? (apr_int64_t)seconds : 0, d = s / 86400, h = s / 3600 % 24, m = s / 60 % 60;

    s %= 60;
    if (d > 0)
        return apr_psprintf(p, "%" APR_INT64_T_FMT "d %" APR_INT64_T_FMT "h %" APR_INT64_T_FMT "m %" APR_INT64_T_FMT "s", d, h, m, s);
    if (h > 0)
        return apr_psprintf(p, "%" APR_INT64_T_FMT "h %" APR_INT64_T_FMT "m %" APR_INT64_T_FMT "s", h, m, s);
    if (m > 0)
        return apr_psprintf(p, "%" APR_INT64_T_FMT "m %" APR_INT64_T_FMT "s", m, s);
    return apr_psprintf(p, "%" APR_INT64_T_FMT "s", s);
}

static const char *date(apr_int64_t seconds, apr_pool_t *p)
{
    apr_time_exp_t t;
    apr_size_t len;
    char buf[64] = "";

    apr_time_exp_lt(&t, apr_time_from_sec(seconds));
    apr_strftime(buf, &len, sizeof buf, "%Y-%m-%d %H:%M:%S %z", &t);
    return apr_pstrdup(p, buf);
}

/* A number and its unit, filled up with blanks to five columns. */
static const char *quantity(apr_int64_t value, const char *unit, apr_pool_t *p)
{
    return apr_psprintf(p, "%-5s", apr_psprintf(p, "%" APR_INT64_T_FMT "%s", value, unit));
}

/* What is out of the ordinary about a process. */
static const char *remark(const json_t *process)
{
    const char *state = text(process, "state");

    if (is(process, "stuck"))
        return "Stuck: one of its requests will not be answered";
    if (strcmp(state, "starting") == 0)
        return "Starting...";
    if (strcmp(state, "ready") != 0)
        return "Shutting down...";
    if (is(process, "worn"))
        return "Being replaced...";
    return strcmp(text(process, "out_of_band"), "clearing") == 0  ? "Disabling: it will work out of band"
           : strcmp(text(process, "out_of_band"), "working") == 0 ? "Disabled: it works out of band"
                                                                  : NULL;
}

/* What it may use, and what it uses of that where it is counted. */
static void say_limits(out_t *out, const json_t *process)
{
    const json_t *limits = json_object_get(process, "limits");
    apr_int64_t tasks = number(limits, "tasks"), memory = number(limits, "memory") >> 20;

    if (!limits)
        return;
    say(out, "    Limits: files %" APR_INT64_T_FMT ", CPU weight %" APR_INT64_T_FMT "%s%s\n", number(limits, "files"), number(limits, "cpu_weight"),
        tasks ? apr_psprintf(out->p, ", tasks %" APR_INT64_T_FMT " (%" APR_INT64_T_FMT " used)", tasks, number(process, "tasks")) : "",
        memory ? apr_psprintf(out->p, ", memory %" APR_INT64_T_FMT "M (%" APR_INT64_T_FMT "M used)", memory, number(process, "memory") >> 20) : "");
}

static void say_process(out_t *out, const json_t *process, apr_int64_t generation)
{
    const char *special = remark(process);

    say(out, "  * PID: %-5" APR_INT64_T_FMT "   Sessions: %-2" APR_INT64_T_FMT "      Processed: %-5" APR_INT64_T_FMT "   Uptime: %s\n",
        number(process, "pid"), number(process, "sessions"), number(process, "processed"),
        duration(real(process, "uptime"), out->p));
    if (json_is_null(json_object_get(process, "last_used")))
        say(out, "    CPU: %s   Memory  : %s\n", quantity(number(process, "cpu"), "%", out->p),
            quantity(number(process, "rss") >> 20, "M", out->p));
    else
        say(out, "    CPU: %s   Memory  : %s   Last used: %s ago\n", quantity(number(process, "cpu"), "%", out->p),
            quantity(number(process, "rss") >> 20, "M", out->p), duration(real(process, "last_used"), out->p));
    if (out->verbose)
        say(out, "    Generation: %" APR_INT64_T_FMT "   UID: %" APR_INT64_T_FMT "   Sticky id: %" APR_INT64_T_FMT "   Concurrency: %s\n",
            number(process, "generation"), number(process, "uid"), number(process, "sticky_id"),
            number(process, "concurrency") ? apr_psprintf(out->p, "%" APR_INT64_T_FMT, number(process, "concurrency")) : "unlimited");
    if (out->verbose && *text(process, "interpreter"))
        say(out, "    Interpreter: %s (%s)\n", text(process, "interpreter"), text(process, "interpreter_rule"));
    if (out->verbose)
        say_limits(out, process);
    if (special)
        say(out, "    %s\n", special);
    if (number(process, "generation") < generation)
        say(out, "    (runs the code from before the last restart)\n");
}

/* Neither "PID:" nor "Memory:" is said: scripts count what has them, and add them up. */
static void say_preloader(out_t *out, const json_t *preloader)
{
    say(out, "  (preloader %" APR_INT64_T_FMT ": %" APR_INT64_T_FMT "M, up %s%s)\n", number(preloader, "pid"), number(preloader, "rss") >> 20,
        duration(real(preloader, "uptime"), out->p), strcmp(text(preloader, "state"), "starting") == 0 ? ", starting..." : "");
}

static void say_failure(out_t *out, const json_t *group, const json_t *failure)
{
    const char *line = text(failure, "details"), *end;

    say(out, "  (failed to start on %s: %s%s)\n", date(number(failure, "date"), out->p), text(failure, "sentence"),
        is(group, "held") ? "; the code from before goes on serving" : "");
    say(out, "  Error id: %s\n", text(failure, "id"));
    for (; *line; line = *end ? end + 1 : end) {
        end = line + strcspn(line, "\n");
        say(out, "    | %.*s\n", (int)(end - line), line);
    }
}

/* Those that have no id yet are in "starting": an id of 0 would be taken for one by whoever passes it on to kill(1). */
static int listed(const json_t *process)
{
    return number(process, "pid") > 0;
}

static apr_int64_t count_listed(const json_t *pool)
{
    const json_t *group, *process;
    apr_int64_t n = 0;
    apr_size_t i, k;

    json_array_foreach(json_object_get(pool, "groups"), i, group) {
        json_array_foreach(json_object_get(group, "processes"), k, process)
            n += listed(process);
    }
    return n;
}

static void say_group(out_t *out, const json_t *group)
{
    const json_t *failure = json_object_get(group, "failure"), *preloader = json_object_get(group, "preloader"), *process;
    apr_int64_t starting = number(group, "starting");
    apr_size_t i;

    say(out, "%s:\n  App root: %s\n", text(group, "name"), text(group, "app_root"));
    if (out->verbose)
        say(out, "  Type: %s   Startup file: %s   Environment: %s   Generation: %" APR_INT64_T_FMT "\n", text(group, "type"),
            text(group, "startup_file"), text(group, "environment"), number(group, "generation"));
    if (is(group, "restarting"))
        say(out, "  (restarting...)\n");
    if (starting > 0)
        say(out, "  (spawning %" APR_INT64_T_FMT " new %s...)\n", starting, starting == 1 ? "process" : "processes");
    if (json_is_object(failure))
        say_failure(out, group, failure);
    say(out, "  Requests in queue: %" APR_INT64_T_FMT "\n", number(group, "queue"));
    if (json_is_object(preloader))
        say_preloader(out, preloader);
    json_array_foreach(json_object_get(group, "processes"), i, process) {
        if (listed(process))
            say_process(out, process, number(group, "generation"));
    }
    say(out, "\n");
}

const char *hp_render_text(const json_t *pool, int verbose, apr_pool_t *p)
{
    out_t out = begin(p, verbose);
    const json_t *group;
    apr_size_t i;

    /* There is no queue but each application's own. */
    say(&out,
        "----------- General information -----------\n"
        "Max pool size : %" APR_INT64_T_FMT "\nApp groups    : %" APR_INT64_T_FMT "\nProcesses     : %" APR_INT64_T_FMT "\n"
        "Requests in top-level queue : 0\n\n"
        "----------- Application groups -----------\n",
        number(pool, "max_processes"), number(pool, "group_count"), count_listed(pool));
    json_array_foreach(json_object_get(pool, "groups"), i, group)
        say_group(&out, group);
    return apr_array_pstrcat(p, out.parts, 0);
}

/* -- XML -- */

static void element(out_t *out, const char *name, const char *value)
{
    say(out, "<%s>%s</%s>", name, ag_text_html(out->p, value), name);
}

static void integer(out_t *out, const char *name, apr_int64_t value)
{
    say(out, "<%s>%" APR_INT64_T_FMT "</%s>", name, value, name);
}

static const char *enabled(const json_t *process)
{
    const char *oob = text(process, "out_of_band");

    return strcmp(oob, "clearing") == 0 ? "DISABLING" : strcmp(oob, "working") == 0 ? "DISABLED" : "ENABLED";
}

static int count_state(const json_t *processes, const char *key, const char *value)
{
    const json_t *process;
    apr_size_t i;
    int n = 0;

    json_array_foreach(processes, i, process)
        n += strcmp(text(process, key), value) == 0;
    return n;
}

static void say_process_xml(out_t *out, const json_t *process)
{
    const char *state = text(process, "state");
    apr_int64_t concurrency = number(process, "concurrency"), sessions = number(process, "sessions"), kib = number(process, "rss") / 1024;
    apr_int64_t started = number(process, "started");
    int ready = strcmp(state, "ready") == 0;

    say(out, "<process>");
    integer(out, "pid", number(process, "pid"));
    integer(out, "sticky_session_id", number(process, "sticky_id"));
    element(out, "gupid", text(process, "gupid"));
    integer(out, "generation", number(process, "generation"));
    integer(out, "uid", number(process, "uid"));
    integer(out, "concurrency", concurrency);
    integer(out, "sessions", sessions);
    /* As Passenger counts it: all of it is INT_MAX. */
    integer(out, "busyness", concurrency > 0 ? sessions * 2147483647 / concurrency : sessions);
    integer(out, "processed", number(process, "processed"));
    integer(out, "spawn_start_time", apr_time_from_sec(started));
    if (!json_is_null(json_object_get(process, "last_used"))) {
        integer(out, "last_used", apr_time_from_sec(started + (apr_int64_t)(real(process, "uptime") - real(process, "last_used"))));
        element(out, "last_used_desc", apr_pstrcat(out->p, duration(real(process, "last_used"), out->p), " ago", NULL));
    }
    element(out, "uptime", duration(real(process, "uptime"), out->p));
    element(out, "life_status", ready || strcmp(state, "starting") == 0 ? "ALIVE" : "SHUTDOWN_TRIGGERED");
    element(out, "enabled", ready ? enabled(process) : strcmp(state, "starting") == 0 ? "DISABLED" : "DETACHED");
    element(out, "state", state);
    element(out, "has_metrics", kib > 0 ? "true" : "false");
    if (kib > 0) {
        integer(out, "cpu", number(process, "cpu"));
        integer(out, "rss", kib);
        integer(out, "real_memory", kib);
        integer(out, "vmsize", number(process, "vmsize") / 1024);
    }
    integer(out, "process_group_id", number(process, "pid"));
    if (*text(process, "interpreter")) {
        element(out, "interpreter", text(process, "interpreter"));
        element(out, "interpreter_rule", text(process, "interpreter_rule"));
    }
    say(out, "</process>");
}

static void say_preloader_xml(out_t *out, const json_t *preloader)
{
    say(out, "<preloader>");
    integer(out, "pid", number(preloader, "pid"));
    element(out, "state", text(preloader, "state"));
    integer(out, "generation", number(preloader, "generation"));
    integer(out, "rss", number(preloader, "rss") / 1024);
    element(out, "uptime", duration(real(preloader, "uptime"), out->p));
    say(out, "</preloader>");
}

static void say_options_xml(out_t *out, const json_t *options)
{
    const char *name;
    const json_t *value;

    say(out, "<options>");
    json_object_foreach((json_t *)(uintptr_t)options, name, value) {
        if (json_is_string(value))
            element(out, name, json_string_value(value));
        else if (json_is_boolean(value))
            element(out, name, json_is_true(value) ? "true" : "false");
        else
            integer(out, name, json_integer_value(value));
    }
    say(out, "</options>");
}

static void say_group_xml(out_t *out, const json_t *group)
{
    const json_t *processes = json_object_get(group, "processes"), *failure = json_object_get(group, "failure"), *process;
    int clearing = count_state(processes, "out_of_band", "clearing"), working = count_state(processes, "out_of_band", "working");
    int ready = count_state(processes, "state", "ready") - clearing - working;
    const json_t *preloader = json_object_get(group, "preloader");
    const char *name = text(group, "name");
    apr_size_t i;

    say(out, "<supergroup>");
    element(out, "name", name);
    element(out, "state", is(group, "restarting") ? "RESTARTING" : ready ? "READY" : number(group, "starting") ? "INITIALIZING" : "READY");
    integer(out, "get_wait_list_size", number(group, "queue"));
    integer(out, "capacity_used", (apr_int64_t)json_array_size(processes));
    say(out, "<group default=\"true\">");
    element(out, "name", name);
    element(out, "component_name", "default");
    element(out, "app_root", text(group, "app_root"));
    element(out, "app_type", text(group, "type"));
    element(out, "environment", text(group, "environment"));
    integer(out, "generation", number(group, "generation"));
    integer(out, "enabled_process_count", ready);
    integer(out, "disabling_process_count", clearing);
    integer(out, "disabled_process_count", working);
    integer(out, "capacity_used", (apr_int64_t)json_array_size(processes));
    integer(out, "get_wait_list_size", number(group, "queue"));
    integer(out, "disable_wait_list_size", 0);
    integer(out, "processes_being_spawned", number(group, "starting"));
    element(out, "life_status", "ALIVE");
    if (json_is_object(failure))
        element(out, "failure", text(failure, "sentence"));
    if (json_is_object(preloader))
        say_preloader_xml(out, preloader);
    say_options_xml(out, json_object_get(group, "options"));
    say(out, "<processes>");
    json_array_foreach(processes, i, process) {
        if (listed(process))
            say_process_xml(out, process);
    }
    say(out, "</processes></group></supergroup>");
}

const char *hp_render_xml(const json_t *pool, apr_pool_t *p)
{
    out_t out = begin(p, 0);
    const json_t *group;
    apr_size_t i;

    say(&out, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<info version=\"3\">");
    element(&out, "passenger_version", text(pool, "version"));
    integer(&out, "group_count", number(pool, "group_count"));
    integer(&out, "process_count", count_listed(pool));
    integer(&out, "max", number(pool, "max_processes"));
    integer(&out, "capacity_used", number(pool, "process_count"));
    integer(&out, "get_wait_list_size", 0);
    say(&out, "<supergroups>");
    json_array_foreach(json_object_get(pool, "groups"), i, group)
        say_group_xml(&out, group);
    say(&out, "</supergroups></info>\n");
    return apr_array_pstrcat(p, out.parts, 0);
}
