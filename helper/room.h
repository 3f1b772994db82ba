/* The room that all applications share: how many processes there may be, and who makes way for whom when that is not enough. */
#ifndef HP_ROOM_H
#define HP_ROOM_H

#include "helper/fleet.h"
#include "helper/queue.h"

/* One application's share in it. */
typedef struct hp_room_member_t {
    TAILQ_ENTRY(hp_room_member_t) entry;
    hp_fleet_t fleet;
    hp_queue_t queue;
    int min; /* processes that it should have */
    void *group;
    void (*advance)(void *group); /* starts and serves what can be */
} hp_room_member_t;

typedef struct {
    TAILQ_HEAD(, hp_room_member_t) members;
    int used, max;            /* processes, from the order to the reaping, but for those that take long to go; none is ordered beyond max */
    int lingering;            /* those that do, and have given their places away; at most max */
    int starting, starts_max; /* those that have not been ready yet, but for those that take long */
    int starved;              /* members without any process whose visitors wait for room, when last looked */
    int wanting;              /* members that would have more processes, the same */
    int retrying, again;
    apr_time_t fair_at; /* when shares were last compared */
    apr_time_t turn_at; /* when the only process of a member was last asked to go */
} hp_room_t;

void hp_room_init(hp_room_t *room);
void hp_room_join(hp_room_t *room, hp_room_member_t *member);
void hp_room_part(hp_room_t *room, hp_room_member_t *member);

/* Sets what the member's lists and the room can tell. */
void hp_room_count(const hp_room_t *room, const hp_room_member_t *member, hp_policy_counts_t *c);

/* A process of the member has gone. */
void hp_room_gone(hp_room_t *room, hp_room_member_t *member, const hp_process_t *process);

/* How many processes there may be from now on. */
void hp_room_limit(hp_room_t *room, int max);

/* The member lacks room: whoever is missed least is asked to go. */
void hp_room_want(hp_room_t *room, hp_room_member_t *member, hp_policy_want_t want);

/* Now and then: whoever waits for room may have it by now, for instance the place of a process that takes long to go. */
void hp_room_look(hp_room_t *room, apr_time_t now);

/* A process of the member has just finished a request: 1 if it should go, for others who have less than their share. */
int hp_room_yield(hp_room_t *room, const hp_room_member_t *member);

/* Something has changed for all: those who have nothing come first, then those whose visitors wait. */
void hp_room_retry(hp_room_t *room);

#endif
