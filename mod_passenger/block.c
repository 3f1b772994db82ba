#include "mod_passenger/block.h"

#include "apr-glue/clock.h"

/* At most a second: mod_reqtimeout looks at its limits only when something is read, and the child may have to go. */
static int wait_ms(const mp_link_want_t *want)
{
    apr_interval_time_t left = want->deadline ? want->deadline - ag_clock_now() : APR_USEC_PER_SEC;

    return left < 0 ? 0 : left >= APR_USEC_PER_SEC ? 1000 : (int) apr_time_as_msec(left) + 1;
}

int mp_block_run(mp_handler_call_t *call)
{
    mp_link_want_t want;

    mp_handler_insist(call);
    while (mp_handler_go(call, &want)) {
        if (want.pause)
            mp_link_pause(want.pause);
        else if (want.deadline && want.client_fd < 0)
            mp_handler_hear(call, MP_LINK_CLIENT_READY); /* the read itself waits */
        else
            mp_handler_hear(call, mp_link_wait(&want, wait_ms(&want)));
    }
    return mp_handler_result(call);
}
