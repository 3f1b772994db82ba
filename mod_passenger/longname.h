/* Names in URLs that are longer than those of files can be. No file has them, but an application's URL may: tokens, signed ids. */
#ifndef MP_LONGNAME_H
#define MP_LONGNAME_H

#include "mod_passenger/mp.h"

/* For the hook translate_name: maps paths of 4 KiB and more, which httpd itself answers with 403. */
int mp_longname_translate(request_rec *r);

/* 1 if r->filename is that long, or has a part that is too long, at which httpd's directory walk fails with 403 when it comes to it. */
int mp_longname_is(const request_rec *r);

/* What httpd does for a file that is not there: looks for its folder, and has the sections of folders and files take part. OK or a status;
 * DECLINED if that can't be done. */
int mp_longname_walk(request_rec *r);

#endif
