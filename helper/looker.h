/* The role that looks at applications' files for the core, so that a file system which does not answer holds up nobody else. */
#ifndef HP_LOOKER_H
#define HP_LOOKER_H

/* Runs the role; descriptor 3 leads to a core. Returns when that core has gone, with 0. */
int hp_looker_run(void);

#endif
