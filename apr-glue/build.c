#include "apr-glue/build.h"

#ifndef AG_BUILD_ID
#define AG_BUILD_ID "dev"
#endif

_Static_assert(sizeof(AG_BUILD_ID) <= 64, "the build id is kept in buffers of 64 bytes");

const char *ag_build_id(void)
{
    return AG_BUILD_ID;
}
