/* What every file of the module needs from httpd: the module record and one way to log. */
#ifndef MP_MP_H
#define MP_MP_H

#include "apr-glue/base.h"
#include <httpd.h>
#include <http_config.h>
#include <http_log.h>

extern module AP_MODULE_DECLARE_DATA passenger_module;
APLOG_USE_MODULE(passenger);

/* Log with a tag of ours: MP_LOG(APLOG_WARNING, rv, s, "PSG0501", "format", ...). Tags are unique in the tree and never reused;
 * `level` and `rv` as for ap_log_error. The second form is for what happens to a request. */
#define MP_LOG(level, rv, s, tag, ...)  ap_log_error(APLOG_MARK, level, rv, s, tag ": " __VA_ARGS__)
#define MP_RLOG(level, rv, r, tag, ...) ap_log_rerror(APLOG_MARK, level, rv, r, tag ": " __VA_ARGS__)

#endif
