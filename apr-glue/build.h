/* Which build this is. Both sides of a link compare it, because only equal builds are known to understand each other. */
#ifndef AG_BUILD_H
#define AG_BUILD_H

/* Set by the Makefile (-DAG_BUILD_ID="..."), "dev" without. Printable, without blanks, at most 63 bytes. */
extern const char *ag_build_id(void);

#endif
