/* Grants: which users, interpreters, commands and numbers root's configuration gives to applications below which folders. */
#ifndef MP_GRANTS_H
#define MP_GRANTS_H

#include "mod_passenger/mp.h"
#include <apr_tables.h>

/* ag_settings_grant_t of each value that root's configuration gives to an option with AG_OPTIONS_GRANT or AG_OPTIONS_CAP, each once.
 *
 * Where a value holds:
 * - in any section with PassengerAppRoot: below that folder;
 * - in a <Directory>: below its path, and below the path's parent if the path is a document root or ends in public; a path with
 * wildcards counts up to the first of them, a regular expression too, so "/" if it starts with one;
 * - in a <Location>: below the PassengerAppRoot of the server that it applies to, else below the parent of that server's
 * DocumentRoot;
 * - in a server or virtual host: as for <Location>, and below each PassengerAppRoot in its own sections; numbers of the main server everywhere.
 *
 * Numbers are bounds: of those for the nearest folder the greatest is the most that anybody gets there. What only some requests get must not
 * take from others: the numbers of a <Location>, <Files>, <If> or a path with wildcards count only where less was said, below all folders that the
 * server's sections name.
 *
 * Paths are compared as they are written, links are not followed: an application that is found through a link or an Alias alone
 * has no grants unless PassengerAppRoot names it. <Proxy> sections grant nothing. .htaccess files never grant anything. */
apr_array_header_t *mp_grants_collect(apr_pool_t *p, server_rec *s);

#endif
