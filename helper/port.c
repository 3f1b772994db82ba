#include "helper/port.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define LISTENS 0x0a /* TCP_LISTEN, as the kernel counts */

/* Whose socket gets a connection, as far as rows of the list have been looked at. */
typedef struct {
    int rank; /* 0: nobody's; the more an address says, the higher */
    uid_t uid;
} found_t;

/* How well an address, four words for IPv6, fits connections to loopback; 0: not at all. */
static int rank_of(const uint32_t words[4], int row_v6, int v6)
{
    int none = !words[0] && !words[1] && !words[2];

    if (!row_v6)
        return v6 ? 0 : words[0] == htonl(INADDR_LOOPBACK) ? 4 : words[0] == INADDR_ANY ? 3 : 0;
    if (v6)
        return none && words[3] == htonl(1) ? 4 : none && !words[3] ? 3 : 0;
    /* Listeners for both protocols, and IPv4 addresses in IPv6's dress. */
    if (!words[0] && !words[1] && words[2] == htonl(0xffff))
        return words[3] == htonl(INADDR_LOOPBACK) ? 4 : !words[3] ? 3 : 0;
    return none && !words[3] ? 2 : 0;
}

/* Looks at a row of /proc/net/tcp (row_v6 0) or tcp6 (1). 0: this row and those after it are not of listening sockets. */
static int look_at_row(found_t *found, const char *row, int row_v6, int port, int v6)
{
    uint32_t words[4] = {0};
    unsigned row_port, state;
    unsigned long uid;
    int end = 0, rank;

    if (row_v6 ? sscanf(row, " %*u: %8x%8x%8x%8x:%x %*x:%*x %x%n", &words[0], &words[1], &words[2], &words[3], &row_port, &state, &end) != 6
               : sscanf(row, " %*u: %8x:%x %*x:%*x %x%n", &words[0], &row_port, &state, &end) != 3)
        return 1; /* the heading */
    if (state != LISTENS)
        return 0;
    if (row_port != (unsigned)port || sscanf(row + end, " %*x:%*x %*x:%*x %*x %lu", &uid) != 1)
        return 1;
    rank = rank_of(words, row_v6, v6);
    if (rank > found->rank) {
        found->rank = rank;
        found->uid = (uid_t)uid;
    } else if (rank > 0 && rank == found->rank && found->uid != (uid_t)uid) {
        found->uid = HP_PORT_NOBODY;
    }
    return 1;
}

/* The kernel lists listening sockets first, and makes the list as it is read: what follows them is never made. */
static apr_status_t look(found_t *found, const char *list, int row_v6, int port, int v6)
{
    FILE *f = fopen(list, "re");
    char row[512];

    if (!f)
        return errno;
    while (fgets(row, sizeof row, f) && look_at_row(found, row, row_v6, port, v6))
        continue;
    fclose(f);
    return APR_SUCCESS;
}

apr_status_t hp_port_owner(uid_t *puid, int port, int v6)
{
    found_t found = {0, HP_PORT_NOBODY};
    apr_status_t rv = look(&found, "/proc/net/tcp", 0, port, v6);

    if (rv == APR_SUCCESS && found.rank == 0)
        rv = look(&found, "/proc/net/tcp6", 1, port, v6);
    /* There may be no IPv6. */
    if (rv == APR_SUCCESS || (rv == ENOENT && !v6))
        *puid = found.uid;
    return rv == ENOENT && !v6 ? APR_SUCCESS : rv;
}
