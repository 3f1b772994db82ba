/* Where the processes of a process group listen, as the kernel lists it, for whoever may look at their descriptors. */
#ifndef HP_LISTENS_H
#define HP_LISTENS_H

#include "apr-glue/base.h"

/* Begins a line of output about an application that listens elsewhere than it should. */
#define HP_LISTENS_ELSEWHERE "The application listens on port "

/* A TCP port on which one of them listens; 0: none, or it is not known. */
int hp_listens_port(pid_t group);

#endif
