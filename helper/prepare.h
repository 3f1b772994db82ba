/* The last steps in a new process before the application's code: who it is, what it may, where it is; then the loader. */
#ifndef HP_PREPARE_H
#define HP_PREPARE_H

/* Runs the role. `folder`: where an application that makes a socket of its own may make it, so that nobody else gets there but the core's
 * group `gid`. `held`: the limits that a control group keeps (limits.h), as a number. Descriptors: 0 handshake in, 1 and 2 output, 3 the socket, 4
 * the orders (settings and spec with their lengths). Does not return
 * on success; otherwise the reason has been written to descriptor 1 as the handshake's error, and the exit code is returned. */
int hp_prepare_run(const char *folder, const char *gid, const char *held);

#endif
