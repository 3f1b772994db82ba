/* The root process: keeps the instance directory, the core and the application processes; parses no HTTP. */
#ifndef HP_WATCHDOG_H
#define HP_WATCHDOG_H

/* Runs the role; descriptor 3 leads to the Apache parent. `state`: number of the descriptor on which an older version of this program left what
 * it had (upgrade.h), or NULL. Returns the exit code. */
int hp_watchdog_run(const char *state);

#endif
