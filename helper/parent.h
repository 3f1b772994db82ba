/* The watchdog's end of the control socket to the Apache parent (messages: apr-glue/settings.h). */
#ifndef HP_PARENT_H
#define HP_PARENT_H

#include "apr-glue/parcel.h"
#include "helper/reserve.h"

#define HP_PARENT_FD 3

/* Sends `text`, and `fd` unless that is -1. A parent that can't take it is gone or will ask; its end of the socket tells. */
void hp_parent_tell(uint32_t type, const char *text, int fd);
/* Receives as ag_parcel_recv does, with the reserve's descriptors. A message that is lost is told in the log, and is APR_EAGAIN. */
apr_status_t hp_parent_receive(hp_reserve_t *reserve, char *buf, ag_parcel_t *parcel) AG_MUST_CHECK;
/* Closes the descriptors of a message that should have none. */
void hp_parent_refuse(ag_parcel_t *parcel);

#endif
