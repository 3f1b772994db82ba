#include "helper/shebang.h"
#include <apr_strings.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAX_SIZE 256 /* as the kernel */

const char *hp_shebang_problem(const char *script, apr_pool_t *p)
{
    int fd = open(script, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    char line[LINE_MAX_SIZE + 1], *name;
    struct stat st;
    ssize_t n = 0;
    apr_size_t len;

    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        n = read(fd, line, LINE_MAX_SIZE);
    close(fd);
    line[n > 0 ? n : 0] = '\0';
    if (strncmp(line, "\xef\xbb\xbf#!", 5) == 0)
        return "begins with a byte order mark, so that its first line is not seen; save it without one";
    if (strncmp(line, "#!", 2) != 0)
        return NULL;
    len = strcspn(line, "\n");
    if (line[len] && line[len - 1] == '\r')
        return "has lines that end as on Windows (CR LF), so that the program of its first line is not found; save it with LF alone";
    line[len] = '\0';
    name = line + 2 + strspn(line + 2, " \t");
    name[strcspn(name, " \t")] = '\0';
    if (stat(name, &st))
        return apr_psprintf(p, "names %s in its first line, which cannot be run: %s", name, strerror(errno));
    return NULL;
}
