/* The page that an application has for visitors while it can't start (PassengerCustomErrorPage): read by the process that is to become the
 * application, with no other rights than that has, and passed to the core in lines before the loader speaks. */
#ifndef HP_PAGE_H
#define HP_PAGE_H

#include "apr-glue/settings.h"
#include "helper/output.h"

#define HP_PAGE_MAX (48 * 1024) /* bytes; the core keeps it as output */

typedef struct {
    const ag_settings_t *settings;
    const char *app_root, *name; /* the name as configured */
    uint32_t uid;                /* of this process */
} hp_page_ask_t;

/* Writes the page's lines. A page that can't be had is no reason not to start: one line on descriptor 2 says why. */
void hp_page_send(int fd, const hp_page_ask_t *ask, apr_pool_t *p);

/* Begin the lines, behind "!> "; CONTINUED: the next one goes on with the same line of the page. */
#define HP_PAGE_WORD      "page: "
#define HP_PAGE_CONTINUED "page+ "

/* What follows a word is added. */
void hp_page_take(hp_output_text_t *page, const char *text, apr_size_t len, int continued);

#endif
