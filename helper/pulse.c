#include "helper/pulse.h"

#define LATE   apr_time_from_sec(5)
#define DEAD   apr_time_from_sec(30)
#define AWAY   apr_time_from_sec(3) /* between two looks: we were not running ourselves */

hp_pulse_verdict_t hp_pulse_look(hp_pulse_t *pulse, apr_time_t now)
{
    apr_interval_time_t since_look = now - pulse->looked;

    pulse->looked = now;
    if (pulse->asked && since_look > AWAY)
        pulse->asked += since_look;
    if (!pulse->asked) {
        pulse->asked = now;
        return HP_PULSE_ASK;
    }
    if (now - pulse->asked >= DEAD)
        return HP_PULSE_KILL;
    if (now - pulse->asked < LATE || pulse->told)
        return HP_PULSE_WAIT;
    pulse->told = 1;
    return HP_PULSE_TELL;
}

void hp_pulse_answer(hp_pulse_t *pulse)
{
    pulse->asked = 0;
    pulse->told = 0;
}
