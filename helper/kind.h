/* Kinds of applications as a starter sees them: which interpreter, which loader. Rows come from apr-glue/kind.def. */
#ifndef HP_KIND_H
#define HP_KIND_H

#include "apr-glue/options.h"
#include "helper/msg.h"

/* Whether a loader can become a preloader, and does so if PassengerSpawnMethod says nothing. */
typedef enum { HP_KIND_PRELOADS_NEVER, HP_KIND_PRELOADS_ASKED, HP_KIND_PRELOADS_USUALLY } hp_kind_preloads_t;

typedef struct {
    const char *name;
    const char *option, *directive;  /* that name its interpreter: "python", "PassengerPython"; NULL: none does */
    const char *interpreters[3];     /* looked for in this order when none is named; NULL at the end */
    const char *loader;              /* file in the loaders' folder; NULL: this version has none */
    const char *title;               /* of the process */
    apr_size_t option_offset;        /* of the interpreter in ag_options_t */
    const char *advice;              /* "; " and what an application must do to become ready; NULL: nothing that could be forgotten */
    hp_msg_signal_t leave;           /* what tells it to leave, where it does not know the pipe whose end tells loaders; 0: the pipe does */
    int oob_work;                    /* the loader knows out-of-band work */
    int cgi;                         /* it speaks FastCGI, on a socket that it inherits */
    int alone;                       /* two processes in one folder would be in each other's way */
    int stacks;                      /* the loader writes where the application is to its log on SIGQUIT */
    hp_kind_preloads_t preloads;
} hp_kind_t;

#define HP_KIND_FASTCGI "fastcgi"
#define HP_KIND_GENERIC "generic" /* has a command of its own instead of interpreter and loader */
#define HP_KIND_METEOR  "meteor"  /* is run by Meteor's tool; what that has bundled is an application for Node.js */

/* NULL if there is no such kind. */
const hp_kind_t *hp_kind_find(const char *name);

/* The same by a name that people give it: node, wsgi, rack too. */
const hp_kind_t *hp_kind_named(const char *name);

/* The advice for an application of this kind that did not become ready, or "". */
const char *hp_kind_advice(const char *name);

/* 1 if an application of this kind has one process at most. */
int hp_kind_alone(const char *name);

/* The configured interpreter, or NULL. */
const char *hp_kind_interpreter(const hp_kind_t *kind, const ag_options_t *options);

/* 1 if a program of this name (no folder) is one of the kind's interpreters: python, python3, python3.11, pypy3 for Python. */
int hp_kind_interpreter_name(const hp_kind_t *kind, const char *name);

#endif
