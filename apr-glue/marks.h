/* What becomes of requests in the core: a slot for each link, in memory that the core writes and others only read. It outlives the core, so whoever
 * waited on a link that ended can tell what was surely not delivered, and may be asked again; and who logs a request can tell where its time went. */
#ifndef AG_MARKS_H
#define AG_MARKS_H

#include "apr-glue/base.h"

#define AG_MARKS_SLOTS 16384

/* Of a request, as far as it has come; all 0: nothing is known. */
typedef struct {
    uint32_t pid;            /* of the process that got it last; 0: none has */
    uint32_t attempts;       /* processes, or connections to one, that it was given to */
    uint64_t waited, served; /* microseconds until that process got it, and from then until the last bytes of the response that were passed on */
} ag_marks_told_t;

typedef struct {
    uint64_t word; /* its user's serial, shifted, and whether the request of the moment was delivered */
    ag_marks_told_t told;
} ag_marks_slot_t;

typedef struct {
    ag_marks_slot_t *slots;
    int fd;          /* the writer's memory; -1 with a reader */
    int taken, next; /* the writer's slots: how many have a user, where the search for a free one goes on */
    uint64_t serial; /* the writer's last one */
    unsigned char used[AG_MARKS_SLOTS / 8];
} ag_marks_t;

/* Memory that nobody but this mapping can write, with descriptor `fd` for readers. An error where the kernel (before Linux 5.1) has none. */
apr_status_t ag_marks_create(ag_marks_t *marks) AG_MUST_CHECK;
/* A slot, and the serial that tells its users apart; -1 when all are taken. The mark says: not delivered. */
int ag_marks_take(ag_marks_t *marks, uint64_t *pserial);
void ag_marks_give(ag_marks_t *marks, int slot);
void ag_marks_set(ag_marks_t *marks, int slot, uint64_t serial, int delivered);
/* Before the bytes of the response that it is about are sent. */
void ag_marks_tell(ag_marks_t *marks, int slot, const ag_marks_told_t *told);

/* A reader's mapping of what a writer has created; `fd` stays the caller's. APR_EGENERAL for other memory. */
apr_status_t ag_marks_map(ag_marks_t *marks, int fd) AG_MUST_CHECK;
void ag_marks_unmap(ag_marks_t *marks);
/* 1 if this user's request was surely not delivered. */
int ag_marks_undelivered(const ag_marks_t *marks, int slot, uint64_t serial);
/* What was told of the slot's request; all 0 for a slot that there can't be. */
void ag_marks_told(const ag_marks_t *marks, int slot, ag_marks_told_t *told);

#endif
