/* What the Apache parent tells the helper: how to run, and what root's configuration grants. */
#ifndef AG_SETTINGS_H
#define AG_SETTINGS_H

#include "apr-glue/frame.h"
#include <apr_tables.h>

/* Messages on the control socket between the Apache parent and the watchdog (SOCK_SEQPACKET, descriptor 3 of the watchdog). */
enum {
    AG_CTL_SETTINGS = 0x53455401, /* parent: ag_settings_t; descriptors: log, then the listening socket where the parent has one */
    AG_CTL_READY,                 /* watchdog: str socket path; descriptor: the listening socket, for the parent to keep */
    AG_CTL_FAILED,                /* watchdog: str one sentence; it exits after it */
    AG_CTL_RELOADING,             /* parent: configuration is being read again; SETTINGS follows within a minute, or the helper ends */
    AG_CTL_STOP,                  /* parent: end now, within the limit */
    AG_CTL_LOG                    /* parent: the log is another file; descriptor: that */
};

/* Logs. */
enum {
    AG_SETTINGS_JSON_SERVER = 1, /* of PassengerLogFile */
    AG_SETTINGS_JSON_APPS = 2    /* of PassengerAppLogFile */
};

/* One thing that root's configuration allows below a folder. */
typedef struct {
    const char *option; /* "user", "group", "python", ...: the option's field name */
    const char *value;
    const char *root;   /* application roots equal to or below this folder; "/" is everywhere */
} ag_settings_grant_t;

typedef struct {
    const char *build_id;       /* of the module; the helper compares it with its own */
    uint32_t config_generation; /* grows with every configuration that the parent read */
    const char *registry_dir;   /* where the instance directory is made; exists or can be made */
    const char *instance_dir;   /* a predecessor's, to be taken over, or NULL: make a fresh one */
    const char *data_dir;       /* for bodies that do not fit into memory */
    const char *web_user;       /* the user that Apache's children run as; NULL when nothing can be switched */
    uint32_t web_uid;
    const char *server_software; /* what Apache says that it is; may be NULL */
    int user_switching;         /* 0: every application runs as default_user */
    const char *default_user;
    const char *default_group;  /* NULL: the primary group of default_user */
    const char *default_ruby;   /* for applications that name none; NULL: the one that is found */
    uint32_t log_level;         /* an ag_log_level_t */
    uint32_t max_pool_size;     /* application processes, all together */
    uint32_t max_instances_per_app; /* 0: no limit */
    uint32_t pool_idle_time;    /* seconds; 0: never */
    uint32_t stat_throttle_rate; /* seconds between looks at the restart file; 0: every request */
    uint32_t response_watermark; /* bytes of a response kept on disk for a slow client */
    uint32_t socket_backlog;
    int show_version;           /* in X-Powered-By */
    int disable_log_prefix;     /* application output without "App 123 output: " */
    uint32_t log_facility;      /* of syslog(3), where the log is a socket to that */
    uint32_t log_json;          /* AG_SETTINGS_JSON_ of the logs that are JSON */
    uint32_t core_files;        /* descriptors for the core; 0: as many as there are */
    uint32_t analytics_collection_rate; /* seconds between looks at what a process uses, at least */
    apr_array_header_t *grants; /* of ag_settings_grant_t */
    const apr_array_header_t *pre_start; /* of const char *: URLs to be requested after a start; NULL or empty: none */
} ag_settings_t;

/* Appends all fields. */
void ag_settings_put(ag_frame_t *f, const ag_settings_t *settings);
/* Reads what put wrote; the result lives in the reader's pool. Check with ag_frame_end. */
ag_settings_t *ag_settings_get(ag_frame_reader_t *in);

/* 1 if `path` is `root` or lies below it; compared by whole components. */
int ag_settings_below(const char *path, const char *root);
/* 1 if root's configuration allows `value` for `option` in an application at `app_root`. */
int ag_settings_granted(const ag_settings_t *settings, const char *option, const char *value, const char *app_root);
/* The most that it allows of a number: the greatest of those that are said for the nearest folder. `most` where it says nothing; 0 counts as more
 * than all others if `endless`. */
int ag_settings_most(const ag_settings_t *settings, const char *option, const char *app_root, int endless, int most);
/* 1 if it allows it for this very folder. */
int ag_settings_granted_here(const ag_settings_t *settings, const char *option, const char *value, const char *app_root);

#endif
