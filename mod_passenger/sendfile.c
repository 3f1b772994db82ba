#include "mod_passenger/sendfile.h"

#include "apr-glue/link.h"
#include "mod_passenger/response.h"

#include <apr_date.h>
#include <apr_portable.h>
#include <apr_strings.h>
#include <fcntl.h>
#include <http_core.h>
#include <http_protocol.h>
#include <http_request.h>
#include <stdlib.h>
#include <unistd.h>
#include <util_filter.h>

#define NAME       "PASSENGER_FILE"
#define READ_BLOCK (64 * 1024)

int mp_sendfile_is(const request_rec *r)
{
    return apr_table_get(r->headers_out, AG_LINK_FILE) != NULL;
}

/* -- what the response says -- */

/* APR's files with a foreign descriptor are never closed nor handed on as theirs are, so one of APR's own gets it. */
static apr_status_t adopt(apr_file_t **pfile, int fd, const request_rec *r)
{
    const core_dir_config *core = ap_get_core_module_config(r->per_dir_config);
    apr_int32_t flags = APR_FOPEN_READ | APR_FOPEN_BINARY | AP_SENDFILE_ENABLED(core->enable_sendfile);
    apr_status_t rv = apr_file_open(pfile, "/dev/null", flags, 0, r->pool);
    apr_os_file_t own;

    if (rv == APR_SUCCESS)
        rv = apr_os_file_get(&own, *pfile);
    if (rv == APR_SUCCESS && dup3(fd, own, O_CLOEXEC) < 0)
        rv = errno;
    close(fd);
    return rv;
}

/* What httpd's configuration says of files with this name. They are looked up by name alone, on a copy of the request that nobody else sees, and as
 * if for a proxy, so that no filter or handler is chosen with the type. */
static void choose_type(request_rec *r, const char *name)
{
    request_rec *copy = apr_pmemdup(r->pool, r, sizeof(*r));

    copy->filename = apr_pstrdup(r->pool, name);
    copy->path_info = NULL;
    copy->handler = NULL;
    copy->proxyreq = PROXYREQ_REVERSE;
    if (ap_run_type_checker(copy) != OK)
        return;
    if (copy->content_type)
        ap_set_content_type(r, copy->content_type);
    r->content_encoding = copy->content_encoding;
    r->content_languages = copy->content_languages;
}

static void set_validators(request_rec *r, apr_file_t *file)
{
    const char *date = apr_table_get(r->headers_out, "Last-Modified");
    apr_time_t at = date ? apr_date_parse_http(date) : 0;

    ap_update_mtime(r, at ? at : r->finfo.mtime);
    if (!at)
        ap_set_last_modified(r);
    if (!apr_table_get(r->headers_out, "ETag")) {
#if AP_MODULE_MAGIC_AT_LEAST(20120211, 89)
        ap_set_etag_fd(r, file);
#else
        ap_set_etag(r);
        (void) file;
#endif
    }
}

/* Of what the application has said nothing is to stand with another status. */
static int answer_instead(request_rec *r, int status)
{
    r->status = HTTP_OK;
    r->status_line = NULL;
    apr_table_unset(r->headers_out, "Status");
    return status;
}

int mp_sendfile_begin(request_rec *r, int fd, apr_file_t **pfile)
{
    const char *said = apr_table_get(r->headers_out, AG_LINK_FILE), *name = strchr(said, ' ');
    int rc = atoi(said);
    apr_status_t rv;

    if (rc == HTTP_FORBIDDEN || rc == HTTP_NOT_FOUND)
        return answer_instead(r, rc);
    if (rc != HTTP_OK)
        return answer_instead(r, HTTP_SERVICE_UNAVAILABLE);
    rv = fd < 0 ? APR_EBADF : adopt(pfile, fd, r);
    if (rv == APR_SUCCESS)
        rv = apr_file_info_get(&r->finfo, APR_FINFO_MIN, *pfile);
    if (rv != APR_SUCCESS || r->finfo.filetype != APR_REG) {
        MP_RLOG(APLOG_ERR, rv, r, "PSG2210", "the core sent no file with a response that has one; this child may have no descriptor left");
        return answer_instead(r, HTTP_SERVICE_UNAVAILABLE);
    }
    if (!r->content_type && name && name[1])
        choose_type(r, name + 1);
    apr_table_unset(r->headers_out, AG_LINK_FILE);
    apr_table_unset(r->headers_out, "Status"); /* which a range would change */
    set_validators(r, *pfile);
    ap_set_accept_ranges(r);
    ap_set_content_length(r, r->finfo.size);
    rc = ap_meets_conditions(r);
    return rc == OK ? OK : answer_instead(r, rc);
}

/* -- down the filters -- */

/* Stands below the filters of a request (ranges, compression, chunks) and above those of the connection (TLS): what is ready is ready here, and still
 * a file. It waits until the client has taken what went before. */
static apr_status_t hold(ap_filter_t *f, apr_bucket_brigade *bb)
{
    apr_bucket_brigade *held = f->ctx;
    apr_bucket *b, *next;

    for (b = APR_BRIGADE_FIRST(bb); b != APR_BRIGADE_SENTINEL(bb); b = next) {
        next = APR_BUCKET_NEXT(b);
        if (APR_BUCKET_IS_FLUSH(b))
            apr_bucket_delete(b);
        else
            apr_bucket_setaside(b, f->r->pool);
    }
    APR_BRIGADE_CONCAT(held, bb);
    return APR_SUCCESS;
}

static ap_filter_t *holder_of(const request_rec *r)
{
    ap_filter_t *f;

    for (f = r->output_filters; f && f->frec->filter_func.out_func != hold; f = f->next)
        ;
    return f;
}

apr_status_t mp_sendfile_pass(request_rec *r, apr_file_t *file, int held)
{
    apr_bucket_alloc_t *alloc = r->connection->bucket_alloc;
    apr_bucket_brigade *bb = apr_brigade_create(r->pool, alloc);
    apr_bucket *b;
    apr_status_t rv;

    if (held)
        ap_add_output_filter(NAME, apr_brigade_create(r->pool, alloc), r, r->connection);
    if (!r->header_only && r->finfo.size > 0) {
        b = apr_brigade_insert_file(bb, file, 0, r->finfo.size, r->pool);
        /* A mapped file whose owner cuts it short ends this process, with all other requests in it. */
        apr_bucket_file_enable_mmap(b, 0);
        apr_bucket_file_set_buf_size(b, READ_BLOCK);
    }
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(alloc));
    rv = ap_pass_brigade(r->output_filters, bb);
    apr_brigade_cleanup(bb);
    /* A page instead (416) is held as well. */
    while (rv != APR_SUCCESS && held && mp_sendfile_push(r) == APR_SUCCESS)
        ;
    return rv == APR_SUCCESS && r->connection->aborted ? APR_ECONNABORTED : rv;
}

apr_status_t mp_sendfile_push(request_rec *r)
{
    ap_filter_t *f = holder_of(r), *next = f ? f->next : NULL;
    apr_bucket_brigade *held = f ? f->ctx : NULL, *bb;
    apr_bucket *end;
    apr_status_t rv;
    int last;

    if (!held || APR_BRIGADE_EMPTY(held))
        return APR_EOF;
    rv = apr_brigade_partition(held, MP_RESPONSE_PIECE, &end);
    if (rv != APR_SUCCESS && !APR_STATUS_IS_INCOMPLETE(rv))
        return rv;
    last = end == APR_BRIGADE_SENTINEL(held) || APR_BUCKET_IS_EOS(end);
    bb = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    if (last) {
        APR_BRIGADE_CONCAT(bb, held);
        ap_remove_output_filter(f);
    } else {
        while (APR_BRIGADE_FIRST(held) != end) {
            apr_bucket *b = APR_BRIGADE_FIRST(held);

            APR_BUCKET_REMOVE(b);
            APR_BRIGADE_INSERT_TAIL(bb, b);
        }
    }
    rv = ap_pass_brigade(next, bb);
    apr_brigade_destroy(bb);
    if (rv == APR_SUCCESS && r->connection->aborted)
        rv = APR_ECONNABORTED;
    return rv == APR_SUCCESS && last ? APR_EOF : rv;
}

void mp_sendfile_register_hooks(apr_pool_t *p)
{
    (void) p;
    ap_register_output_filter(NAME, hold, NULL, (ap_filter_type) (AP_FTYPE_TRANSCODE + 1));
}
