#include "helper/page.h"
#include "apr-glue/path.h"
#include "apr-glue/text.h"
#include <apr_strings.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define CHUNK 4000 /* less than a line of output may be long */

/* Apache's children may name a file in a request, and would see what it holds: what root has not named must be there for everybody. */
static const char *check_public(const hp_page_ask_t *ask, const char *path, apr_pool_t *p)
{
    const char *folder = apr_pstrcat(p, ask->app_root, "/public/", NULL);
    ag_path_t way;

    if (ag_settings_granted(ask->settings, "custom_error_page", ask->name, ask->app_root))
        return NULL;
    if (strncmp(path, folder, strlen(folder)) != 0 || ag_path_walk(&way, path, AG_PATH_FOLLOW, p) != APR_SUCCESS || !(way.st.st_mode & S_IROTH))
        return "the server's configuration does not name it, and it is no file below the application's public folder that everybody may read";
    return NULL;
}

static const char *read_page(char **ptext, const hp_page_ask_t *ask, const char *path, apr_pool_t *p)
{
    const char *problem = check_public(ask, path, p);
    apr_status_t rv = problem ? APR_SUCCESS : ag_path_read(ptext, path, ask->uid, HP_PAGE_MAX, p);

    if (problem || rv == APR_SUCCESS)
        return problem;
    return rv == EPERM    ? "it, or a folder or link on the way to it, belongs to somebody who is neither root nor the application's user, or others "
                            "may write to it"
           : rv == E2BIG  ? "it is larger than 48 KiB"
           : rv == EINVAL ? "it is no plain file"
           : rv == EILSEQ ? "there is a NUL in it"
                          : ag_text_error(p, rv);
}

void hp_page_send(int fd, const hp_page_ask_t *ask, apr_pool_t *p)
{
    const char *path = ask->name[0] == '/' ? ask->name : apr_pstrcat(p, ask->app_root, "/", ask->name, NULL), *problem;
    char *text = NULL;

    problem = read_page(&text, ask, path, p);
    if (problem) {
        dprintf(2, "The page %s (PassengerCustomErrorPage) was not read: %s.\n", path, problem);
        return;
    }
    while (*text) {
        apr_size_t len = strcspn(text, "\n"), part = len < CHUNK ? len : CHUNK;
        /* Blanks at the end of a line are not kept. */
        while (part < len && part > 1 && text[part - 1] == ' ')
            part--;
        dprintf(fd, "!> %s%.*s\n", part < len ? HP_PAGE_CONTINUED : HP_PAGE_WORD, (int)part, text);
        text += part;
        if (part == len && *text)
            text++;
    }
}

void hp_page_take(hp_output_text_t *page, const char *text, apr_size_t len, int continued)
{
    apr_size_t before = page->len;

    hp_output_keep(page, text, len);
    if (continued && page->len > before)
        page->bytes[--page->len] = '\0';
}
