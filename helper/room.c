#include "helper/room.h"
#include "apr-glue/log.h"
#include <unistd.h>

#define SPARE_AFTER apr_time_from_sec(10)      /* unused for so long, a process is one that its application can spare */
#define LEAVE_SOON  apr_time_from_sec(1)
#define FAIR_AFTER  (apr_time_from_sec(1) / 2) /* of waiting, before an application with less than its share gets it from others */
#define TURN        apr_time_from_sec(10)      /* that an application keeps its only process, if it is never idle and others have none */
#define FAIR_EVERY  (apr_time_from_sec(1) / 10)
#define GO_LONG     apr_time_from_sec(5)       /* of leaving: the place is given away, since visitors may wait for it */
#define GO_AT_LAST  apr_time_from_sec(60)      /* of leaving, where others have nothing at all */
#define START_LONG  apr_time_from_sec(10)      /* of starting: others need not wait for the end of it any longer, it may hang */

void hp_room_init(hp_room_t *room)
{
    TAILQ_INIT(&room->members);
    room->max = 1;
    room->starts_max = hp_policy_starts((int)sysconf(_SC_NPROCESSORS_ONLN));
}

void hp_room_join(hp_room_t *room, hp_room_member_t *member)
{
    TAILQ_INSERT_TAIL(&room->members, member, entry);
}

void hp_room_part(hp_room_t *room, hp_room_member_t *member)
{
    assert(member->fleet.used == 0 && member->queue.len == 0);
    TAILQ_REMOVE(&room->members, member, entry);
}

void hp_room_count(const hp_room_t *room, const hp_room_member_t *member, hp_policy_counts_t *c)
{
    hp_fleet_count(&member->fleet, c);
    c->queued = member->queue.len;
    c->min = member->min;
    c->pool_used = room->used;
    c->pool_max = room->max;
    c->slots = room->starts_max - room->starting;
}

/* How many have been asked to go and will be gone soon; those that take long are not waited for. */
static int leaving(const hp_room_t *room)
{
    apr_time_t before = ag_loop_now() - LEAVE_SOON;
    const hp_room_member_t *member;
    const hp_process_t *process;
    int n = 0;

    TAILQ_FOREACH (member, &room->members, entry) {
        TAILQ_FOREACH (process, &member->fleet.processes, entry)
            n += process->leaving_since > before && process->state != HP_PROCESS_GONE;
    }
    return n;
}

static int serving(const hp_room_member_t *member)
{
    hp_policy_counts_t c;

    hp_fleet_count(&member->fleet, &c);
    return c.ready + c.outdated - c.away;
}

/* The idle process of others that would be missed least. `surplus`: only one without which its application has enough. */
static hp_process_t *spare(const hp_room_t *room, const hp_room_member_t *member, int surplus)
{
    apr_time_t before = ag_loop_now() + (surplus ? -SPARE_AFTER : 1);
    const hp_room_member_t *other;
    hp_process_t *process, *found = NULL;

    TAILQ_FOREACH (other, &room->members, entry) {
        if (other == member || other->queue.len > 0 || !(process = hp_fleet_idle(&other->fleet, before)))
            continue;
        if (surplus && serving(other) <= (other->min > 1 ? other->min : 1))
            continue;
        if (!found || process->last_used < found->last_used)
            found = process;
    }
    return found;
}

static void send_away(hp_process_t *process, const hp_process_t *reason)
{
    ag_log(AG_LOG_INFO, "PSG0114", "pool.evict: process %ld of %s makes room for %s", (long)process->pid, process->spec->group,
           reason ? "its successor" : "another application");
    hp_process_retire(process);
}

void hp_room_want(hp_room_t *room, hp_room_member_t *member, hp_policy_want_t want)
{
    hp_process_t *process = NULL;

    switch (want) {
    case HP_POLICY_STAY:
        return;
    case HP_POLICY_STARVE:
        room->starved++;
        if (leaving(room) < room->starved)
            process = spare(room, member, 0);
        break;
    case HP_POLICY_SQUEEZE:
        room->wanting++;
        if (leaving(room) == 0)
            process = spare(room, member, 1);
        break;
    case HP_POLICY_BORROW:
        room->wanting++;
        if (leaving(room) > 0)
            return;
        process = spare(room, member, 0);
        if (process)
            break;
        /* fall through */
    case HP_POLICY_REPLACE:
        process = hp_fleet_outworn(&member->fleet);
        if (process)
            send_away(process, process);
        return;
    }
    if (process)
        send_away(process, NULL);
}

void hp_room_gone(hp_room_t *room, hp_room_member_t *member, const hp_process_t *process)
{
    if (process->passed_over) {
        room->lingering--;
    } else {
        member->fleet.used--;
        room->used--;
    }
    assert(member->fleet.used >= 0 && room->used >= member->fleet.used && room->starting >= 0 && room->lingering >= 0);
}

void hp_room_limit(hp_room_t *room, int max)
{
    hp_process_t *process;

    room->max = max;
    for (int more = room->used - leaving(room) - max; more > 0 && (process = spare(room, NULL, 0)); more--)
        send_away(process, NULL);
    hp_room_retry(room);
}

static void pass_over(hp_room_t *room, hp_room_member_t *member, hp_process_t *process)
{
    process->passed_over = 1;
    room->lingering++;
    room->used--;
    member->fleet.used--;
    if (process->in_flight > 0)
        ag_log(AG_LOG_NOTICE, "PSG3900", "app.lingers: process %ld of %s is to end and still has requests (inflight=%d): its place is given away",
               (long)process->pid, process->spec->group, process->in_flight);
    else
        ag_log(AG_LOG_NOTICE, "PSG3901", "app.lingers: process %ld of %s was told to end, has no requests, and goes on, for instance because of a "
               "thread of its own: its place is given away", (long)process->pid, process->spec->group);
}

/* A visitor may read a stream of events for days, a thread may never end: a successor would wait for as long. */
static int pass_over_long(hp_room_t *room, apr_time_t now)
{
    hp_room_member_t *member;
    hp_process_t *process;
    int before = room->lingering;

    TAILQ_FOREACH (member, &room->members, entry) {
        TAILQ_FOREACH (process, &member->fleet.processes, entry) {
            if (process->leaving_since && now - process->leaving_since >= GO_LONG && !process->passed_over && room->lingering < room->max)
                pass_over(room, member, process);
        }
    }
    return room->lingering > before;
}

/* All places are given away, to processes that take as long to go, and somebody has none. */
static void end_longest(const hp_room_t *room, apr_time_t now)
{
    const hp_room_member_t *member;
    hp_process_t *process, *found = NULL;

    TAILQ_FOREACH (member, &room->members, entry) {
        TAILQ_FOREACH (process, &member->fleet.processes, entry) {
            if (process->passed_over && (!found || process->leaving_since < found->leaving_since))
                found = process;
        }
    }
    if (!found || now - found->leaving_since < GO_AT_LAST)
        return;
    ag_log(AG_LOG_WARN, "PSG3902", "app.kill_forced: process %ld of %s was to end %ld s ago, and is ended with its requests (inflight=%d), "
           "since other processes need the place; PassengerMaxPoolSize says how many there are", (long)found->pid, found->spec->group,
           (long)apr_time_sec(now - found->leaving_since), found->in_flight);
    hp_process_kill(found);
}

void hp_room_look(hp_room_t *room, apr_time_t now)
{
    const hp_room_member_t *member;
    hp_process_t *process;

    TAILQ_FOREACH (member, &room->members, entry) {
        TAILQ_FOREACH (process, &member->fleet.processes, entry) {
            if (!process->counted_starting || now - process->started < START_LONG)
                continue;
            process->counted_starting = 0;
            room->starting--;
        }
    }
    if (room->starved && room->lingering >= room->max)
        end_longest(room, now);
    if (pass_over_long(room, now) || room->starved || room->wanting)
        hp_room_retry(room);
}

static int deprived(const hp_room_member_t *member, int share, apr_time_t now)
{
    const hp_queue_waiter_t *first = TAILQ_FIRST(&member->queue.waiters);

    return first && member->fleet.used < share && now - first->work.since >= FAIR_AFTER;
}

static int nothing_left(const hp_room_member_t *member)
{
    hp_policy_counts_t c;

    hp_fleet_count(&member->fleet, &c);
    return c.ready + c.outdated + c.starting == 0;
}

/* Where there are more applications than room they take turns: 1 if somebody who has nothing has waited for one. */
static int turn_over(hp_room_t *room)
{
    apr_time_t now = ag_loop_now();
    const hp_room_member_t *member;
    const hp_queue_waiter_t *waiter;

    if (now - room->turn_at < TURN || leaving(room) > 0)
        return 0;
    TAILQ_FOREACH (member, &room->members, entry) {
        waiter = TAILQ_FIRST(&member->queue.waiters);
        if (waiter && now - waiter->work.since >= TURN && nothing_left(member)) {
            room->turn_at = now;
            return 1;
        }
    }
    return 0;
}

int hp_room_yield(hp_room_t *room, const hp_room_member_t *member)
{
    const hp_room_member_t *other;
    apr_time_t now;
    int groups = 0, share;

    if (room->used > room->max && room->used - leaving(room) > room->max)
        return 1; /* it was lowered */
    if (member->fleet.used <= 1)
        return room->starved > 0 && turn_over(room);
    if (!room->starved && !room->wanting)
        return 0;
    if (room->starved > 0)
        return leaving(room) < room->starved;
    now = ag_loop_now();
    if (now - room->fair_at < FAIR_EVERY)
        return 0;
    room->fair_at = now;
    TAILQ_FOREACH (other, &room->members, entry)
        groups += other->fleet.used > 0 || other->queue.len > 0;
    share = hp_policy_share(room->max, groups);
    if (member->fleet.used <= share || member->fleet.used <= member->min)
        return 0;
    TAILQ_FOREACH (other, &room->members, entry) {
        if (deprived(other, share, now))
            return leaving(room) == 0;
    }
    return 0;
}

/* Of those who have nothing, the one whose visitors wait for longest: otherwise who comes late in the list might never have its turn. */
static void longest_first(hp_room_t *room)
{
    hp_room_member_t *member, *found = NULL;
    const hp_queue_waiter_t *waiter;
    apr_time_t since = 0;

    TAILQ_FOREACH (member, &room->members, entry) {
        waiter = TAILQ_FIRST(&member->queue.waiters);
        if (!waiter || (found && waiter->work.since >= since) || !nothing_left(member))
            continue;
        found = member;
        since = waiter->work.since;
    }
    if (!found)
        return;
    TAILQ_REMOVE(&room->members, found, entry);
    TAILQ_INSERT_HEAD(&room->members, found, entry);
}

static void retry_once(hp_room_t *room)
{
    hp_room_member_t *member;

    room->starved = room->wanting = 0;
    longest_first(room);
    TAILQ_FOREACH (member, &room->members, entry) {
        if (member->queue.len > 0 && nothing_left(member))
            member->advance(member->group);
    }
    TAILQ_FOREACH (member, &room->members, entry) {
        if (member->queue.len > 0 && !nothing_left(member))
            member->advance(member->group);
    }
    TAILQ_FOREACH (member, &room->members, entry) {
        if (member->queue.len == 0)
            member->advance(member->group);
    }
}

/* Serving a request may end in a call of this. */
void hp_room_retry(hp_room_t *room)
{
    room->again = 1;
    if (room->retrying)
        return;
    room->retrying = 1;
    while (room->again) {
        room->again = 0;
        retry_once(room);
    }
    room->retrying = 0;
}
