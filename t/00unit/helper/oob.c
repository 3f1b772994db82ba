/* Out-of-band work as the core sees it: who leaves routing, what is sent, and how it ends. The applications are sockets of ours. */
#include "helper/oob.c"
#include "helper/context.h"
#include "t/lib/tap.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

#define LIMIT (apr_time_from_sec(1) / 20)

static hp_context_t ctx;
static int back, told[2];
static hp_fleet_t fleet = {.processes = TAILQ_HEAD_INITIALIZER(fleet.processes), .generation = 1};
static hp_process_t process[2];
static int listener[2];

static void on_back(hp_process_t *from)
{
    back++;
    is_int(from->oob, HP_PROCESS_OOB_NONE, "it is back");
    ag_loop_stop(ctx.loop);
}

static const hp_process_events_t events = {.back = on_back};

static void stop(void *baton)
{
    (void)baton;
    ag_loop_stop(ctx.loop);
}

/* Runs the loop for as long, at most. */
static void run(apr_interval_time_t limit)
{
    ag_loop_timer_t *timer = ag_loop_timer_create(ctx.loop, stop, NULL);

    ag_loop_timer_start(timer, limit);
    ag_loop_run(ctx.loop);
    ag_loop_timer_destroy(&timer);
}

static void make(int i, const char *dir)
{
    static const hp_spec_t spec = {.kind = "ruby", .app_root = "/srv/app"};
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    snprintf(addr.sun_path, sizeof addr.sun_path, "%s/%d", dir, i);
    listener[i] = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener[i], (struct sockaddr *)&addr, sizeof addr) != 0 || listen(listener[i], 4) != 0)
        abort();
    process[i] = (hp_process_t){.ctx = &ctx, .p = ctx.p, .state = HP_PROCESS_READY, .events = &events, .spec = &spec, .generation = 1,
                                .concurrency = 1, .handshake = {.protocol = HP_HANDSHAKE_SESSION, .address = "fd:3"},
                                .sock = open(addr.sun_path, O_PATH)};
    LIST_INIT(&process[i].idle_links);
    TAILQ_INIT(&process[i].work);
    unlink(addr.sun_path);
    TAILQ_INSERT_TAIL(&fleet.processes, &process[i], entry);
    fleet.used++;
}

static void start(void)
{
    hp_policy_counts_t c = {0};

    hp_fleet_count(&fleet, &c);
    hp_oob_start(&fleet, &c, LIMIT);
}

/* The application's side takes the order; returns the connection. */
static int take(int i)
{
    static const char want[] = "\0\0\0\040REQUEST_METHOD\0OOBW\0!OOB_WORK\0001";
    char got[64];
    int fd = accept(listener[i], NULL, NULL);

    is_int(recv(fd, got, sizeof got, 0), sizeof want, "it is told to work");
    ok(memcmp(got, want, sizeof want) == 0, "... by a request that nobody else can send");
    told[i]++;
    return fd;
}

static void one_after_another(void)
{
    int fd;

    start();
    is_int(process[0].oob, HP_PROCESS_OOB_NONE, "nobody has asked");
    hp_oob_ask(&process[1]);
    hp_oob_ask(&process[0]);
    process[1].oob_since--; /* it was earlier */
    start();
    is_int(process[1].oob, HP_PROCESS_OOB_WORKING, "who asked first works first");
    is_int(process[0].oob, HP_PROCESS_OOB_WANTED, "... alone");
    ok(!hp_process_free(&process[1]) && hp_process_free(&process[0]), "... while the other one takes requests");
    fd = take(1);
    start();
    is_int(process[0].oob, HP_PROCESS_OOB_WANTED, "... whatever else happens");
    (void)!write(fd, "x", 1);
    run(apr_time_from_sec(10));
    is_int(back, 1, "an answer is the end of the work");
    close(fd);
    start();
    is_int(process[0].oob, HP_PROCESS_OOB_WORKING, "then it is the other one's turn");
    close(take(0));
    run(apr_time_from_sec(10));
    is_int(back, 2, "so is the end of the connection");
    is_int(process[0].nlinks + process[1].nlinks, 0, "no connection is left");
    is_int((long long)(process[0].requests + process[1].requests), 0, "none of this is a request");
}

static void with_requests(void)
{
    hp_process_work_t work = {0};
    int fd;

    hp_process_begin(&process[0], &work);
    hp_oob_ask(&process[0]);
    start();
    is_int(process[0].oob, HP_PROCESS_OOB_CLEARING, "its request is finished first");
    hp_oob_step(&process[0]);
    is_int(process[0].oob, HP_PROCESS_OOB_CLEARING, "... not the request of another");
    hp_process_end(&process[0], &work);
    hp_oob_step(&process[0]);
    is_int(process[0].oob, HP_PROCESS_OOB_WORKING, "... then it works");
    fd = take(0);
    run(4 * LIMIT);
    ok(process[0].worn && process[0].oob == HP_PROCESS_OOB_WORKING && back == 2, "beyond the limit it is worn, and still gets no requests");
    close(fd);
    run(apr_time_from_sec(10));
    is_int(back, 3, "... until it is done after all");
    process[0].worn = 0;

    hp_process_begin(&process[0], &work);
    hp_oob_ask(&process[0]);
    start();
    run(apr_time_from_sec(10));
    ok(back == 4 && told[0] == 2 && !process[0].worn, "a request that takes longer than the limit ends the wait, and nothing else");
    hp_oob_ask(&process[0]);
    start();
    process[0].state = HP_PROCESS_DRAINING;
    hp_oob_step(&process[0]);
    ok(process[0].oob == HP_PROCESS_OOB_NONE && back == 4, "one that is to end does not work any more");
    process[0].state = HP_PROCESS_READY;
    process[0].in_flight = 0;
}

static void who_may(void)
{
    static const hp_spec_t python = {.kind = "python", .app_root = "/srv/app"};
    const hp_spec_t *ruby = process[0].spec;

    process[0].spec = &python;
    hp_oob_ask(&process[0]);
    is_int(process[0].oob, HP_PROCESS_OOB_NONE, "a loader that does not know such work is not told to do it");
    process[0].spec = ruby;
    process[0].handshake.protocol = HP_HANDSHAKE_HTTP;
    hp_oob_ask(&process[0]);
    is_int(process[0].oob, HP_PROCESS_OOB_NONE, "nor is one that takes requests in HTTP");
    process[0].handshake.protocol = HP_HANDSHAKE_SESSION;
    hp_oob_ask(&process[0]);
    process[0].generation = 0;
    start();
    is_int(process[0].oob, HP_PROCESS_OOB_WANTED, "nor one that is about to be replaced");
    process[0].generation = 1;
    close(listener[0]);
    start();
    is_int(process[0].oob, HP_PROCESS_OOB_NONE, "one that cannot be reached is left to its visitors");
    is_int(process[0].nlinks, 0, "... and no connection is left");
}

int main(void)
{
    char dir[] = "/tmp/oob-XXXXXX";

    apr_initialize();
    apr_pool_create(&ctx.p, NULL);
    ctx.loop = ag_loop_create(ctx.p);
    if (!mkdtemp(dir))
        abort();
    make(0, dir);
    make(1, dir);
    rmdir(dir);
    one_after_another();
    with_requests();
    who_may();
    close(listener[1]);
    close(process[0].sock);
    close(process[1].sock);
    apr_pool_destroy(ctx.p);
    return done_testing();
}
