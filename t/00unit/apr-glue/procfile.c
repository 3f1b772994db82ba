#include "apr-glue/procfile.c"
#include "t/lib/tap.h"
#include <string.h>

int main(void)
{
    char text[64], all[4096], small[6] = "before";

    ok(ag_procfile_of(text, sizeof text, getpid(), "comm") > 0, "what this process is called");
    is_str(text, "procfile\n", "... is its file's name");
    ok(ag_procfile_of(all, sizeof all, getpid(), "status") > (ssize_t)sizeof text, "a longer file");
    ok(strstr(all, "\nPPid:") && strstr(all, "\nGroups:"), "... is there as a whole");
    is_int(ag_procfile_of(small, sizeof small, getpid(), "comm"), 5, "what is too long");
    is_str(small, "procf", "... is cut");
    is_int(ag_procfile_of(text, sizeof text, getpid(), "nothing"), -1, "a file that is not there");
    is_int(errno, ENOENT, "... has a reason");
    is_str(text, "", "... and no text");
    is_int(ag_procfile_read(text, sizeof text, "/proc"), -1, "a folder is none");
    is_int(errno, EISDIR, "... whose reason is not lost");
    return done_testing();
}
