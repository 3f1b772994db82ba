/* Test Anything Protocol from C: what `prove` reads. One program, one file of tests. */
#ifndef TAP_H
#define TAP_H

#define TAP_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* One test: passes if `pass` is not 0. The rest names it, as printf does. Returns nothing that a test would branch on. */
void ok(int pass, const char *fmt, ...) TAP_PRINTF(2, 3);

/* Equal strings (NULL equals NULL only), equal numbers; else both are shown. */
void is_str(const char *got, const char *want, const char *fmt, ...) TAP_PRINTF(3, 4);
void is_int(long long got, long long want, const char *fmt, ...) TAP_PRINTF(3, 4);

/* A remark for whoever reads the output; no test. */
void diag(const char *fmt, ...) TAP_PRINTF(1, 2);

/* Writes the plan; main returns the result: 0 when all passed. */
int done_testing(void);

#endif
