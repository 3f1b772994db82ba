/* What a person must be told: made where the cause is known, logged once, shown on the page. */
#ifndef HP_REPORT_H
#define HP_REPORT_H

#include "apr-glue/base.h"

/* All strings live in the report's pool. */
typedef struct {
    apr_pool_t *p;
    int status;           /* of HTTP */
    const char *id;       /* to find the log line by */
    const char *title;    /* for the visitor */
    const char *sentence; /* for the administrator and the developer: the cause */
    const char *details;  /* the application's own words, or "" */
    const char *page;     /* the application's page for visitors, or NULL */
    int retry_after;      /* seconds, 0: not said */
    apr_time_t date;      /* when it was made */
} hp_report_t;

/* A report in a pool of its own below `parent`. */
hp_report_t *hp_report_create(apr_pool_t *parent, int status, const char *title, const char *sentence, const char *details);
void hp_report_destroy(hp_report_t **preport);

enum {
    HP_REPORT_FRIENDLY = 1, /* with cause and details */
    HP_REPORT_HEAD = 2,     /* for HEAD: without the page */
    HP_REPORT_JSON = 16,    /* for programs, instead of a page */
    HP_REPORT_CLOSE = 4,    /* the link ends after it */
    HP_REPORT_AGAIN = 8     /* another core may have the request */
};

/* 1 if a request with these headers (NULL: none) comes from a program that wants JSON. */
int hp_report_wants_json(const char *accept, const char *content_type);

/* A whole HTTP/1.1 response, in pool p. */
const char *hp_report_response(const hp_report_t *report, int how, apr_pool_t *p, apr_size_t *plen);

/* The page around reports, read once at start from `dir`/error.html; without one a plain text is sent. */
void hp_report_template(const char *dir, apr_pool_t *p);

#endif
