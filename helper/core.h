/* The unprivileged half of the helper: decides which process serves what, and moves the bytes. */
#ifndef HP_CORE_H
#define HP_CORE_H

/* Runs the role as `uid` and `gid`; descriptor 3 leads to the watchdog. Returns the exit code. */
int hp_core_run(const char *uid, const char *gid);

#endif
