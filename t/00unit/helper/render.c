/* A pool's document as text and XML: the shape that Passenger's users and their tools know. */
#include "helper/render.c"
#include "t/lib/tap.h"
#include <stdlib.h>

static apr_pool_t *p;

static const char document[] =
    "{'version': '0.1.0', 'max_processes': 6, 'group_count': 1, 'process_count': 2, 'queue': 3, 'groups': [{"
    "'name': '/srv/a<b> (production)', 'app_root': '/srv/a<b>', 'environment': 'production', 'type': 'python', 'startup_file': 'passenger_wsgi.py',"
    "'generation': 2, 'queue': 3, 'starting': 1, 'restarting': true, 'held': true,"
    "'failure': {'id': 'abc', 'date': 1000000000, 'sentence': 'It exited.', 'details': 'Traceback:\\n  line 1\\n'},"
    "'options': {'PassengerMinInstances': 2, 'PassengerPython': '/a&b', 'PassengerEnabled': true},"
    "'processes': [{'pid': 12345, 'state': 'ready', 'generation': 1, 'sticky_id': 7, 'uid': 1000, 'concurrency': 2, 'sessions': 1, 'processed': 10,"
    "'gupid': '1-4', 'started': 5, 'uptime': 65.5, 'last_used': 5.2, 'rss': 24117248, 'vmsize': 104857600, 'cpu': 7, 'out_of_band': 'working',"
    "'worn': false, 'stuck': false,"
    "'memory': 26214400, 'tasks': 3, 'limits': {'files': 1024, 'cpu_weight': 50, 'tasks': 64, 'memory': 536870912}},"
    "{'pid': 0, 'state': 'starting', 'generation': 2, 'sticky_id': 8, 'uid': null, 'concurrency': 0, 'sessions': 0, 'processed': 0,"
    "'started': 5, 'uptime': 0.1, 'last_used': null, 'rss': 0, 'cpu': 0, 'worn': false, 'stuck': false}]}]}";

static json_t *load(void)
{
    char *text = apr_pstrdup(p, document);

    for (char *at = text; *at; at++)
        *at = *at == '\'' ? '"' : *at;
    return json_loads(text, 0, NULL);
}

static void as_text(json_t *pool)
{
    static const char want[] =
        "----------- General information -----------\n"
        "Max pool size : 6\n"
        "App groups    : 1\n"
        "Processes     : 1\n"
        "Requests in top-level queue : 0\n"
        "\n"
        "----------- Application groups -----------\n"
        "/srv/a<b> (production):\n"
        "  App root: /srv/a<b>\n"
        "  (restarting...)\n"
        "  (spawning 1 new process...)\n"
        "  (failed to start on 2001-09-09 01:46:40 +0000: It exited.; the code from before goes on serving)\n"
        "  Error id: abc\n"
        "    | Traceback:\n"
        "    |   line 1\n"
        "  Requests in queue: 3\n"
        "  * PID: 12345   Sessions: 1       Processed: 10      Uptime: 1m 5s\n"
        "    CPU: 7%      Memory  : 23M     Last used: 5s ago\n"
        "    Disabled: it works out of band\n"
        "    (runs the code from before the last restart)\n"
        "\n";
    const char *verbose = hp_render_text(pool, 1, p);

    is_str(hp_render_text(pool, 0, p), want, "as text");
    ok(strstr(verbose, "  Type: python   Startup file: passenger_wsgi.py   Environment: production   Generation: 2\n") != NULL, "more about a group");
    ok(strstr(verbose, "    Generation: 1   UID: 1000   Sticky id: 7   Concurrency: 2\n") != NULL, "more about a process");
    ok(strstr(verbose, "    Limits: files 1024, CPU weight 50, tasks 64 (3 used), memory 512M (25M used)\n") != NULL, "... its limits");
}

static void as_xml(json_t *pool)
{
    static const char *const has[] = {
        "<info version=\"3\"><passenger_version>0.1.0</passenger_version><group_count>1</group_count><process_count>1</process_count>"
        "<max>6</max>",
        "<supergroups><supergroup><name>/srv/a&lt;b&gt; (production)</name><state>RESTARTING</state><get_wait_list_size>3</get_wait_list_size>",
        "<group default=\"true\">", "<app_root>/srv/a&lt;b&gt;</app_root>", "<enabled_process_count>0</enabled_process_count>",
        "<disabling_process_count>0</disabling_process_count><disabled_process_count>1</disabled_process_count>",
        "<processes_being_spawned>1</processes_being_spawned>", "<failure>It exited.</failure>",
        "<PassengerMinInstances>2</PassengerMinInstances>", "<PassengerPython>/a&amp;b</PassengerPython>",
        "<PassengerEnabled>true</PassengerEnabled>",
        "<process><pid>12345</pid><sticky_session_id>7</sticky_session_id><gupid>1-4</gupid>",
        "<concurrency>2</concurrency><sessions>1</sessions><busyness>1073741823</busyness>",
        "<processed>10</processed>", "<spawn_start_time>5000000</spawn_start_time><last_used>65000000</last_used>",
        "<last_used_desc>5s ago</last_used_desc><uptime>1m 5s</uptime><life_status>ALIVE</life_status><enabled>DISABLED</enabled>",
        "<has_metrics>true</has_metrics><cpu>7</cpu><rss>23552</rss><real_memory>23552</real_memory><vmsize>102400</vmsize>",
        "</processes></group></supergroup></supergroups></info>"};
    const char *xml = hp_render_xml(pool, p);

    ok(strstr(xml, "<pid>0</pid>") == NULL, "one that has no id yet is not in the list");
    for (apr_size_t i = 0; i < AG_LEN(has); i++)
        ok(strstr(xml, has[i]) != NULL, "as XML it has %s", has[i]);
}

int main(void)
{
    json_t *pool, *empty;

    setenv("TZ", "UTC", 1);
    apr_initialize();
    apr_pool_create(&p, NULL);
    pool = load();
    ok(pool != NULL, "the document is one");
    as_text(pool);
    as_xml(pool);
    empty = json_object();
    ok(strstr(hp_render_text(empty, 1, p), "App groups    : 0\n") != NULL, "nothing, as text");
    ok(strstr(hp_render_xml(empty, p), "<supergroups></supergroups>") != NULL, "nothing, as XML");
    is_str(duration(0, p), "0s", "no time");
    is_str(duration(59.9, p), "59s", "seconds");
    is_str(duration(3600, p), "1h 0m 0s", "an hour");
    is_str(duration(93784, p), "1d 2h 3m 4s", "a day and more");
    is_str(duration(-1, p), "0s", "a clock that went back");
    json_decref(pool);
    json_decref(empty);
    apr_pool_destroy(p);
    return done_testing();
}
