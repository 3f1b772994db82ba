/* Whether a process that must answer still does: a pure function of when it was asked, and of the time. */
#ifndef HP_PULSE_H
#define HP_PULSE_H

#include "apr-glue/base.h"
#include <apr_time.h>

/* Start with all zero for each process. */
typedef struct {
    apr_time_t asked;  /* the question that has no answer yet; 0: none */
    apr_time_t looked; /* at the last look */
    int told;
} hp_pulse_t;

typedef enum {
    HP_PULSE_ASK,  /* ask it */
    HP_PULSE_WAIT, /* it has time */
    HP_PULSE_TELL, /* it has not answered for long: worth a line in the log, once */
    HP_PULSE_KILL  /* it has not answered for so long that it never will */
} hp_pulse_verdict_t;

/* To be called every second or so. Time in which nobody looked (a stopped or suspended machine) does not count. */
hp_pulse_verdict_t hp_pulse_look(hp_pulse_t *pulse, apr_time_t now);
/* It has answered. */
void hp_pulse_answer(hp_pulse_t *pulse);

#endif
