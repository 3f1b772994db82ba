/* Versions of interpreters, as version files ask for them and version managers name their folders. Pure. */
#ifndef HP_VERSION_H
#define HP_VERSION_H

#include "apr-glue/base.h"
#include <apr_tables.h>

/* The versions that a file asks for, the one that is wanted most first (const char *). `tools`: NULL for a file about one interpreter
 * (.python-version); for one about all (.tool-versions) the names that count, NULL at the end. Comments and what can be no name of a folder are
 * left out. */
apr_array_header_t *hp_version_words(const char *text, const char *const *tools, apr_pool_t *p);

/* The installed one (of const char *) that is meant: the same, with or without a prefix as in "ruby-3.2.2" and "v22.1.0"; else the newest release
 * that begins with all parts of it ("3.2" means 3.2.9 before 3.2.2, and never 3.20). "" means the newest release. NULL: there is none. */
const char *hp_version_match(const char *wanted, const apr_array_header_t *installed);

/* As strcmp(3), but numbers count as numbers. */
int hp_version_compare(const char *a, const char *b);

/* "3.11" of "3.11.7" or "ruby-3.11.7", NULL of "3" or "pypy3.10-7.3". */
const char *hp_version_minor(const char *version, apr_pool_t *p);

#endif
