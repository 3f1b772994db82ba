/* What every file of ours may rely on. Nothing else belongs here. */
#ifndef AG_BASE_H
#define AG_BASE_H

#include <apr.h>
#include <apr_errno.h>
#include <apr_pools.h>
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define AG_VERSION "0.1.0"
#define AG_INTERFACE "6.0.24" /* the version of Phusion Passenger whose configuration and tools ours are like */

#define AG_LEN(array) (sizeof(array) / sizeof((array)[0]))
#define AG_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define AG_MUST_CHECK __attribute__((warn_unused_result))

#endif
