#include "mod_passenger/accesslog.h"
#include "mod_passenger/calm.h"
#include "mod_passenger/gulp.h"
#include "mod_passenger/conf.h"
#include "mod_passenger/helper.h"
#include "mod_passenger/hop.h"
#include "mod_passenger/mistake.h"
#include "mod_passenger/mp.h"
#include "mod_passenger/sendfile.h"
#include "mod_passenger/takeover.h"

static void register_hooks(apr_pool_t *p)
{
    mp_conf_register_hooks(p);
    mp_mistake_register_hooks(p);
    mp_accesslog_register_hooks(p);
    mp_helper_register_hooks(p);
    mp_calm_register_hooks(p);
    mp_gulp_register_hooks(p);
    mp_sendfile_register_hooks(p);
    mp_hop_register_hooks(p);
    mp_takeover_register_hooks(p);
}

module AP_MODULE_DECLARE_DATA passenger_module = {
    STANDARD20_MODULE_STUFF, mp_conf_create_dir, mp_conf_merge_dir, NULL, NULL, mp_conf_commands, register_hooks, AP_MODULE_FLAG_NONE,
};
