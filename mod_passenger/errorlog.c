#include "mod_passenger/errorlog.h"
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <syslog.h>

#define PATIENCE 20000 /* microseconds that a line waits for a daemon that is only slow */

/* Those that httpd knows. */
static const struct {
    const char *name;
    int value;
} facilities[] = {{"auth", LOG_AUTH},     {"authpriv", LOG_AUTHPRIV}, {"cron", LOG_CRON},     {"daemon", LOG_DAEMON}, {"ftp", LOG_FTP},
                  {"kern", LOG_KERN},     {"lpr", LOG_LPR},           {"mail", LOG_MAIL},     {"news", LOG_NEWS},     {"syslog", LOG_SYSLOG},
                  {"user", LOG_USER},     {"uucp", LOG_UUCP},         {"local0", LOG_LOCAL0}, {"local1", LOG_LOCAL1}, {"local2", LOG_LOCAL2},
                  {"local3", LOG_LOCAL3}, {"local4", LOG_LOCAL4},     {"local5", LOG_LOCAL5}, {"local6", LOG_LOCAL6}, {"local7", LOG_LOCAL7}};

int mp_errorlog_syslog(const server_rec *s, int *pfacility)
{
    const char *name = s->error_fname;
    apr_size_t len;

    if (!name || strncasecmp(name, "syslog", 6) != 0)
        return 0;
    *pfacility = LOG_LOCAL7; /* as httpd has it */
    name += 6;
    if (*name++ != ':')
        return 1;
    len = strcspn(name, ":");
    for (apr_size_t i = 0; i < sizeof facilities / sizeof *facilities; i++) {
        if (strlen(facilities[i].name) == len && strncasecmp(facilities[i].name, name, len) == 0)
            *pfacility = facilities[i].value;
    }
    return 1;
}

int mp_errorlog_open(void)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_usec = PATIENCE};

    if (fd >= 0)
        (void)!setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return fd;
}
