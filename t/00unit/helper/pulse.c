#include "helper/pulse.c"
#include "t/lib/tap.h"

int main(void)
{
    hp_pulse_t pulse = {0};
    apr_time_t now = apr_time_from_sec(1000);
    int tells = 0, kills = 0, i;

    is_int(hp_pulse_look(&pulse, now), HP_PULSE_ASK, "it is asked");
    hp_pulse_answer(&pulse);
    is_int(hp_pulse_look(&pulse, now += apr_time_from_sec(1)), HP_PULSE_ASK, "... and again when it has answered");
    for (i = 1; i < 30; i++) {
        hp_pulse_verdict_t verdict = hp_pulse_look(&pulse, now += apr_time_from_sec(1));
        tells += verdict == HP_PULSE_TELL;
        kills += verdict == HP_PULSE_KILL;
        if (i == 4)
            is_int(tells, 0, "four seconds are not long");
        if (i == 5)
            is_int(tells, 1, "five are");
    }
    is_int(tells, 1, "that is told once");
    is_int(kills, 0, "it lives for as long");
    is_int(hp_pulse_look(&pulse, now += apr_time_from_sec(1)), HP_PULSE_KILL, "... as thirty seconds");

    pulse = (hp_pulse_t){0};
    hp_pulse_look(&pulse, now);
    is_int(hp_pulse_look(&pulse, now += apr_time_from_sec(3600)), HP_PULSE_WAIT, "an hour in which nobody looked does not count");
    is_int(hp_pulse_look(&pulse, now += apr_time_from_sec(1)), HP_PULSE_WAIT, "... then it has its time");
    hp_pulse_answer(&pulse);
    is_int(hp_pulse_look(&pulse, now += apr_time_from_sec(1)), HP_PULSE_ASK, "... to answer");
    return done_testing();
}
