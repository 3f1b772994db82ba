/* Giving up root's rights for good. */
#ifndef AG_RIGHTS_H
#define AG_RIGHTS_H

#include "apr-glue/base.h"

/* Makes this process one of user and group, without other groups, whose memory others of that user cannot read; with another
 * user than root nothing changes but that. 1 only if it has been verified that no way leads back; a caller that gets 0 must end. */
int ag_rights_give_up(uid_t uid, gid_t gid) AG_MUST_CHECK;

#endif
