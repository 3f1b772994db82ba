/* passenger-config about, and what older scripts ask in other words: where things are, which version this is, which Ruby would run. */
#ifndef HP_ABOUT_H
#define HP_ABOUT_H

#include "helper/tools/client.h"

/* argv[0] is the command's name; returns the exit code. */
int hp_about_run(const hp_client_t *client, int argc, const char **argv);
/* 1 if `word` is a topic of it with two dashes in front, which is a command of its own: passenger-config --root. */
int hp_about_is(const char *word);
/* Two lines: the version of Phusion Passenger whose interface this is, then our own. */
int hp_about_version(const hp_client_t *client);

#endif
