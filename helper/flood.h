/* How much of an application's output is logged: no application that works gets there, and one that prints without end fills no disk. */
#ifndef HP_FLOOD_H
#define HP_FLOOD_H

#include "apr-glue/record.h"

/* Start with all zero. What is left out is so until hp_flood_end, which should come a second after the first line. */
typedef struct {
    apr_time_t at;            /* when room was last counted */
    apr_int64_t lines, bytes; /* that there is room for */
    unsigned long left_out;
    struct hp_flood_stream_t *streams[2]; /* stdout, stderr: what was left out last; NULL: nothing */
} hp_flood_t;

/* 1 if there is room for the line. Else it is left out, and counted. */
int hp_flood_takes(hp_flood_t *flood, const ag_record_origin_t *from, const char *line, apr_size_t len, apr_time_t now);

/* The last lines of each stream that were left out are not lost, for they may tell of a crash: `give` gets them, after `tell` got how many others
 * are. */
typedef struct {
    void (*tell)(void *baton, unsigned long lost);
    void (*give)(void *baton, const ag_record_origin_t *from, const char *line, apr_size_t len);
    void *baton;
} hp_flood_end_t;
void hp_flood_end(hp_flood_t *flood, const hp_flood_end_t *to);

#endif
