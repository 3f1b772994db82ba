/* The names of the messages between core and watchdog; fields are written and read with apr-glue/frame. */
#ifndef HP_MSG_H
#define HP_MSG_H

typedef enum {
    HP_MSG_NONE = 0x48500000,
#define MSG(name, carries) HP_MSG_##name,
#include "helper/msg.def"
#undef MSG
    HP_MSG_END
} hp_msg_t;

typedef enum {
    HP_MSG_SIGNAL_FINISH = 1, /* its input is closed: it ends after the request in flight */
    HP_MSG_SIGNAL_TERM,       /* SIGTERM to the process too */
    HP_MSG_SIGNAL_INTERRUPT,  /* SIGINT to its process group too, as from a terminal */
    HP_MSG_SIGNAL_KILL,       /* SIGKILL to its process group */
    HP_MSG_SIGNAL_STACK       /* SIGQUIT to the process alone: it tells where it is, and goes on */
} hp_msg_signal_t;

#define HP_MSG_FDS 4 /* of a process: its input, stdout, socket, stderr */

#endif
