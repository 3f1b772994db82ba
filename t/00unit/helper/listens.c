#include "helper/listens.c"
#include "t/lib/tap.h"
#include <netinet/in.h>
#include <sys/socket.h>

#define REST " 00000000:00000000 00:00000000 00000000  1000        0 "

static void rows(void)
{
    static const char heading[] = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
    static const char listener[] = "   0: 0100007F:0BB8 00000000:0000 0A" REST "3296979 1 0 100 0 0 10 0\n";
    static const char connection[] = "   0: 0100007F:0BB8 0100007F:C350 01" REST "3296979 1 0 100 0 0 10 0\n";
    static const char six[] = "   1: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A" REST "77 1 0 100 0 0 10 0\n";
    unsigned port = 0;
    unsigned long inode = 0;

    ok(!read_row(heading, &port, &inode), "the heading");
    ok(read_row(listener, &port, &inode), "a socket that listens");
    is_int((int)port, 3000, "... where");
    is_int((int)inode, 3296979, "... which");
    ok(!read_row(connection, &port, &inode), "a connection does not");
    ok(read_row(six, &port, &inode), "IPv6");
    is_int((int)port, 8080, "... where");
    is_int((int)inode, 77, "... which");
}

static void own(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;

    if (setpgid(0, 0) && getpgid(0) != getpid())
        ok(0, "a process group of its own");
    ok(bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0 && getsockname(fd, (struct sockaddr *)&sa, &len) == 0, "a port");
    is_int(hp_listens_port(getpid()), 0, "nobody listens there");
    ok(listen(fd, 1) == 0, "somebody does");
    is_int(hp_listens_port(getpid()), ntohs(sa.sin_port), "... and is found");
    close(fd);
}

int main(void)
{
    rows();
    own();
    return done_testing();
}
