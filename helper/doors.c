#include "helper/doors.h"
#include "apr-glue/sock.h"
#include "apr-glue/text.h"
#include <apr_strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define ADMIN_BACKLOG 64

enum { REQUESTS_MODE = 0600, ADMIN_MODE = 0666 };

static uid_t requests_owner(const ag_settings_t *settings)
{
    return geteuid() == 0 && settings->web_user ? (uid_t)settings->web_uid : geteuid();
}

static void learn(hp_doors_name_t *name, const char *path)
{
    struct stat st;

    *name = lstat(path, &st) == 0 ? (hp_doors_name_t){st.st_dev, st.st_ino} : (hp_doors_name_t){0, 0};
}

static apr_status_t make_requests(hp_doors_t *doors, const ag_settings_t *settings)
{
    const char *path = hp_instance_socket(doors->instance);
    apr_status_t rv;
    int fd;

    unlink(path);
    rv = ag_sock_listen(&fd, path, (int)settings->socket_backlog, REQUESTS_MODE, requests_owner(settings));
    if (rv != APR_SUCCESS)
        return rv;
    if (doors->requests >= 0)
        close(doors->requests);
    doors->requests = fd;
    learn(&doors->requests_name, path);
    return APR_SUCCESS;
}

/* Everybody may knock; the core asks the kernel who it is. A core that a dead watchdog left behind may still serve the name that is there. */
static apr_status_t make_admin(hp_doors_t *doors)
{
    const char *path = hp_instance_admin(doors->instance);
    apr_status_t rv;
    int fd;

    unlink(path);
    rv = ag_sock_listen(&fd, path, ADMIN_BACKLOG, ADMIN_MODE, geteuid());
    if (rv != APR_SUCCESS)
        return rv;
    if (doors->admin >= 0)
        close(doors->admin);
    doors->admin = fd;
    learn(&doors->admin_name, path);
    return APR_SUCCESS;
}

apr_status_t hp_doors_open(hp_doors_t *doors, const ag_settings_t *settings, apr_pool_t *p, const char **preason)
{
    const char *path = hp_instance_socket(doors->instance);
    apr_status_t rv;

    learn(&doors->requests_name, path);
    learn(&doors->admin_name, hp_instance_admin(doors->instance));
    rv = doors->requests >= 0 ? APR_SUCCESS : make_requests(doors, settings);
    if (rv == APR_SUCCESS && doors->admin < 0) {
        path = hp_instance_admin(doors->instance);
        rv = make_admin(doors);
    }
    if (rv != APR_SUCCESS)
        *preason = apr_psprintf(p, "cannot listen on %s: %s", path, ag_text_error(p, rv));
    return rv;
}

/* A name under which nobody reaches us any more is as good as none. */
static int there(const char *path, const hp_doors_name_t *name, uid_t owner, mode_t mode)
{
    struct stat st;

    return lstat(path, &st) == 0 && st.st_dev == name->dev && st.st_ino == name->ino && S_ISSOCK(st.st_mode) && st.st_uid == owner &&
           (st.st_mode & 07777) == mode;
}

apr_status_t hp_doors_look(hp_doors_t *doors, const ag_settings_t *settings, int *pmade)
{
    int intact = hp_instance_intact(doors->instance);
    apr_status_t rv = intact ? APR_SUCCESS : hp_instance_remake(doors->instance);

    *pmade = !intact && rv == APR_SUCCESS ? HP_DOORS_FOLDER : 0;
    if (rv == APR_SUCCESS && !there(hp_instance_socket(doors->instance), &doors->requests_name, requests_owner(settings), REQUESTS_MODE) &&
        APR_SUCCESS == (rv = make_requests(doors, settings)))
        *pmade |= HP_DOORS_REQUESTS;
    if (rv == APR_SUCCESS && !there(hp_instance_admin(doors->instance), &doors->admin_name, geteuid(), ADMIN_MODE) &&
        APR_SUCCESS == (rv = make_admin(doors)))
        *pmade |= HP_DOORS_ADMIN;
    if (rv == APR_SUCCESS)
        rv = hp_instance_redescribe(doors->instance);
    return rv;
}
