/* PassengerDumpConfigManifest: what the server's configuration says to us, and where. */
#ifndef MP_MANIFEST_H
#define MP_MANIFEST_H

#include "mod_passenger/mp.h"
#include <apr_tables.h>

/* One reading of the configuration, empty. */
typedef struct mp_manifest_t mp_manifest_t;
mp_manifest_t *mp_manifest_create(apr_pool_t *p);

/* Notes a directive that was accepted. */
void mp_manifest_note(mp_manifest_t *manifest, cmd_parms *cmd, const char *directive, const char *value);

/* Replaces the file by one that only its owner can read, or leaves it as it is and says why not (PSG1704). */
void mp_manifest_write(const mp_manifest_t *manifest, const char *file, server_rec *s, apr_pool_t *ptemp);

#endif
