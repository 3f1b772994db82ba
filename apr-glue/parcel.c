#include "apr-glue/parcel.h"
#include "apr-glue/frame.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* The datagram that announces memory: shorter than every frame, and not empty, which would look like the end. */
#define ANNOUNCEMENT "M"

static apr_status_t write_all(int fd, const char *data, apr_size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno != EINTR)
            return errno;
        if (n > 0) {
            data += n;
            len -= (apr_size_t)n;
        }
    }
    return APR_SUCCESS;
}

apr_status_t ag_parcel_send(int fd, const void *data, apr_size_t len, const int *fds, int nfds)
{
    int all[AG_SOCK_MAX_FDS], memory;
    apr_status_t rv;

    assert(nfds < AG_SOCK_MAX_FDS && len > sizeof ANNOUNCEMENT - 1);
    if (len <= AG_PARCEL_DATAGRAM)
        return ag_sock_send(fd, data, len, fds, nfds);
    if (len > AG_FRAME_MAX)
        return E2BIG;
    memory = memfd_create("parcel", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memory < 0)
        return errno;
    rv = write_all(memory, data, len);
    if (rv == APR_SUCCESS && fcntl(memory, F_ADD_SEALS, SEALS))
        rv = errno;
    if (rv == APR_SUCCESS) {
        if (nfds > 0)
            memcpy(all, fds, (apr_size_t)nfds * sizeof *fds);
        all[nfds] = memory;
        rv = ag_sock_send(fd, ANNOUNCEMENT, sizeof ANNOUNCEMENT - 1, all, nfds + 1);
    }
    close(memory);
    return rv;
}

/* Without the seals the sender could change or cut what we are reading. */
static apr_status_t map_memory(ag_parcel_t *parcel, int memory)
{
    struct stat st;

    /* There may be more seals: where vm.memfd_noexec is set, the kernel adds one. */
    if ((fcntl(memory, F_GET_SEALS) & SEALS) != SEALS || fstat(memory, &st) || st.st_size <= 0 || st.st_size > AG_FRAME_MAX)
        return APR_EGENERAL;
    parcel->map = mmap(NULL, (apr_size_t)st.st_size, PROT_READ, MAP_PRIVATE, memory, 0);
    if (parcel->map == MAP_FAILED) {
        parcel->map = NULL;
        return errno;
    }
    parcel->data = parcel->map;
    parcel->len = (apr_size_t)st.st_size;
    return APR_SUCCESS;
}

apr_status_t ag_parcel_recv(int fd, char *buf, ag_parcel_t *parcel)
{
    apr_status_t rv = ag_sock_recv(fd, buf, AG_PARCEL_DATAGRAM, &parcel->len, parcel->fds, &parcel->nfds);

    parcel->data = buf;
    parcel->map = NULL;
    parcel->cut = rv == EMFILE;
    if (parcel->cut && (parcel->len != sizeof ANNOUNCEMENT - 1 || memcmp(buf, ANNOUNCEMENT, parcel->len) != 0))
        return APR_SUCCESS;
    if (rv != APR_SUCCESS || parcel->len != sizeof ANNOUNCEMENT - 1 || memcmp(buf, ANNOUNCEMENT, parcel->len) != 0)
        return rv;
    if (parcel->nfds == 0)
        return APR_EGENERAL;
    rv = map_memory(parcel, parcel->fds[--parcel->nfds]);
    close(parcel->fds[parcel->nfds]);
    while (rv != APR_SUCCESS && parcel->nfds > 0)
        close(parcel->fds[--parcel->nfds]);
    return rv;
}

void ag_parcel_done(ag_parcel_t *parcel)
{
    if (parcel->map)
        munmap(parcel->map, parcel->len);
    parcel->map = NULL;
}
