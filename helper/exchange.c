#include "helper/exchange.h"
#include "apr-glue/log.h"
#include "apr-glue/memory.h"
#include "helper/wear.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define NOTICE_LIMIT apr_time_from_sec(1) /* for an application to see that its request is over */

hp_exchange_t *hp_exchange_create(hp_context_t *ctx, hp_conn_t *conn, const hp_head_t *head)
{
    hp_exchange_t *r = malloc(sizeof *r + head->len);

    if (!r)
        ag_memory_out();
    memset(r, 0, sizeof *r);
    r->ctx = ctx;
    r->conn = conn;
    r->waiter.work.pairs = memcpy(r + 1, head->pairs, head->len);
    r->waiter.work.pairs_len = head->len;
    r->fields_len = head->len - head->env_len;
    r->is_head = head->is_head;
    r->chunked = head->chunked;
    r->upgrade = head->upgrade;
    r->body_left = head->content_length;
    r->had_body = r->chunked || r->body_left > 0;
    r->body_over = !r->had_body;
    r->expects = head->expects;
    r->interim = head->interim;
    ag_chunk_init(&r->body_chunks);
    hp_spool_init(&r->up, &ctx->store);
    return r;
}

void hp_exchange_destroy(hp_exchange_t *r)
{
    assert(!r->link && !r->process && !r->waiter.queued);
    r->freed = 1;
    if (r->in_begin)
        return; /* whoever is inside still looks at it */
    ag_loop_timer_destroy(&r->timer);
    ag_loop_timer_destroy(&r->limit_timer);
    ag_loop_timer_destroy(&r->link_timer);
    ag_loop_timer_destroy(&r->tunnel_timer);
    hp_spool_clear(&r->up);
    free(r->unsent);
    free(r->head);
    free(r->cookie);
    free(r->words);
    if (r->group)
        hp_group_unuse(r->group);
    free(r);
}

const char *hp_exchange_id(const hp_exchange_t *r)
{
    return hp_head_id(r->waiter.work.pairs, r->waiter.work.pairs_len);
}

void hp_exchange_tell(hp_exchange_t *r)
{
    if (!r->conn || !hp_conn_asks(r->conn))
        return;
    r->told.attempts = (uint32_t)r->tries;
    if (r->state == HP_EXCHANGE_WAITING) {
        r->told.pid = 0;
        r->told.served = 0;
        r->told.waited = (uint64_t)(ag_loop_now() - r->asked_at);
    } else if (r->told.pid) {
        r->told.served = (uint64_t)(ag_loop_now() - r->waiter.work.since);
    }
    hp_conn_tell(r->conn, &r->told);
}

/* The client has its answer, and nothing to do with the exchange any more. */
static void respond(hp_exchange_t *r, const hp_report_t *report, int friendly)
{
    const char *pairs = r->waiter.work.pairs;
    apr_size_t len = pairs ? r->fields_len : 0;
    int json = hp_report_wants_json(hp_head_pair(pairs, len, "HTTP_ACCEPT"), hp_head_pair(pairs, len, "CONTENT_TYPE"));
    int how = (friendly ? HP_REPORT_FRIENDLY : 0) | (json ? HP_REPORT_JSON : 0) | (r->is_head ? HP_REPORT_HEAD : 0) |
              (r->body_over ? 0 : HP_REPORT_CLOSE) |
              (r->ctx->stopping && r->state == HP_EXCHANGE_WAITING ? HP_REPORT_AGAIN : 0);
    apr_pool_t *ptemp;
    struct iovec iov;

    if (!r->conn)
        return;
    hp_exchange_tell(r);
    apr_pool_create(&ptemp, r->ctx->p);
    iov.iov_base = (void *)(uintptr_t)hp_report_response(report, how, ptemp, &iov.iov_len);
    hp_conn_write(r->conn, &iov, 1);
    hp_conn_done(r->conn, r->body_over);
    r->conn = NULL;
    apr_pool_destroy(ptemp);
}

/* -- PassengerMaxRequestTime -- */

static void tell_late(hp_exchange_t *r, const char *whose)
{
    apr_time_t took = ag_loop_now() - r->waiter.work.since;
    char sentence[96];
    hp_report_t *report;

    snprintf(sentence, sizeof sentence, "The request was not answered within %d seconds (PassengerMaxRequestTime).", r->limit);
    report = hp_report_create(r->ctx->p, 504, "The application did not answer in time", sentence, "");
    ag_log_about(hp_exchange_id(r), AG_LOG_ERROR, "PSG0158",
                 "request.timeout: %s: process %ld of %s, %ld s (PassengerMaxRequestTime)%s%s (error id %s)",
                 hp_head_line(r->waiter.work.pairs, r->waiter.work.pairs_len, report->p), (long)r->process->pid, r->process->spec->app_root,
                 (long)apr_time_sec(took), whose, r->begun && r->conn ? "; the response was cut" : "", report->id);
    if (r->begun && r->conn) {
        hp_exchange_tell(r);
        hp_conn_break(r->conn);
        r->conn = NULL;
    }
    respond(r, report, 0);
    hp_report_destroy(&report);
}

/* Where it is the client that is slow the process is not to blame: it is given the chance to show that. */
static void on_limit(void *baton)
{
    hp_exchange_t *r = baton;

    if (r->at_end)
        return; /* the last word is being awaited already */
    if (r->paused_at) {
        tell_late(r, "; the client takes the response too slowly");
    } else if (!r->overdue && !r->body_over && r->link && r->unsent_at == r->unsent_len && hp_spool_len(&r->up) == 0) {
        tell_late(r, "; the client sends the body too slowly");
        r->overdue = r->body_over = r->shut = 1;
        shutdown(r->link->fd, SHUT_WR);
        ag_loop_timer_start(r->limit_timer, NOTICE_LIMIT);
        return;
    } else {
        hp_process_stuck(r->process);
        if (!r->overdue)
            tell_late(r, "");
    }
    hp_exchange_abandon(r);
}

void hp_exchange_start(hp_exchange_t *r)
{
    if (r->conn && hp_conn_asks(r->conn)) {
        r->told.pid = (uint32_t)r->process->pid;
        r->told.waited = (uint64_t)(r->waiter.work.since - r->asked_at);
        hp_exchange_tell(r);
    }
    if (r->limit == 0)
        return;
    if (!r->limit_timer)
        r->limit_timer = ag_loop_timer_create(r->ctx->loop, on_limit, r);
    ag_loop_timer_start(r->limit_timer, apr_time_from_sec(r->limit));
}

/* -- its way -- */

void hp_exchange_submit(hp_exchange_t *r)
{
    r->state = HP_EXCHANGE_WAITING;
    if (r->asked_at == 0 && r->conn && hp_conn_asks(r->conn))
        r->asked_at = ag_loop_now();
    hp_group_submit(r->group, &r->waiter);
}

int hp_exchange_sent(const hp_exchange_t *r)
{
    return r->body_over && r->unsent_at == r->unsent_len && hp_spool_len(&r->up) == 0 && (!r->fcgi || r->stdin_ended);
}

void hp_exchange_leave(hp_exchange_t *r, int keep_link, int broken)
{
    hp_process_t *process = r->process;

    if (process && r->words_len > 0)
        hp_process_say(process, "stderr", r->words, r->words_len, 0);
    r->words_len = 0;
    r->process = NULL;
    if (r->limit_timer)
        ag_loop_timer_stop(r->limit_timer);
    if (r->link_timer)
        ag_loop_timer_stop(r->link_timer);
    if (keep_link)
        hp_app_link_keep(&r->link);
    else
        hp_app_link_close(&r->link);
    if (process)
        hp_group_done(process, &r->waiter.work, broken);
}

int hp_exchange_again(hp_exchange_t *r, int unreachable)
{
    if (r->had_body || r->got_bytes || r->tries >= HP_EXCHANGE_TRIES || !r->conn)
        return 0;
    hp_exchange_leave(r, 0, unreachable);
    free(r->unsent);
    r->unsent = NULL;
    r->unsent_at = r->unsent_len = 0;
    hp_exchange_submit(r);
    return 1;
}

void hp_exchange_answer(hp_exchange_t *r, const hp_report_t *report, int friendly)
{
    respond(r, report, friendly);
    r->state = HP_EXCHANGE_OVER;
    hp_exchange_destroy(r);
}

void hp_exchange_error(hp_exchange_t *r, int status, const char *title, const char *sentence)
{
    hp_report_t *report = hp_report_create(r->ctx->p, status, title, sentence, "");

    if (status == 503)
        report->retry_after = 5;
    ag_log_about(hp_exchange_id(r), AG_LOG_ERROR, "PSG0150", "request.failed: %s: %s (error id %s)", hp_group_name(r->group), sentence, report->id);
    hp_exchange_answer(r, report, 0);
    hp_report_destroy(&report);
}

void hp_exchange_fail(hp_exchange_t *r, const char *sentence, int unreachable)
{
    long pid = r->process ? (long)r->process->pid : 0;
    char text[256];

    if (r->process)
        hp_wear_killed(r->process);
    if (r->process && r->process->doom)
        sentence = r->process->doom;
    if (r->overdue || r->delivered) {
        hp_exchange_abandon(r);
        return;
    }
    snprintf(text, sizeof text, "process %ld: %s", pid, sentence);
    hp_exchange_leave(r, 0, unreachable);
    if (r->conn && !r->begun) {
        hp_exchange_error(r, 502, "The application did not answer properly", text);
        return;
    }
    ag_log_about(hp_exchange_id(r), AG_LOG_ERROR, "PSG0156", "request.failed: %s: process %ld: %s%s", hp_group_name(r->group), pid, sentence,
                 r->conn ? "; the response was cut" : "; nobody waited for it");
    r->state = HP_EXCHANGE_OVER;
    hp_exchange_tell(r);
    if (r->conn)
        hp_conn_break(r->conn);
    hp_exchange_destroy(r);
}

void hp_exchange_complete(hp_exchange_t *r, apr_size_t surplus)
{
    int sent = hp_exchange_sent(r);

    if (surplus > 0 && !r->delivered)
        ag_log_about(hp_exchange_id(r), AG_LOG_WARN, "PSG0151", "app.protocol: process %ld of %s sent %lu bytes more than its response has",
                     (long)r->process->pid, hp_group_name(r->group), (unsigned long)surplus);
    r->state = HP_EXCHANGE_OVER;
    /* The client first: what follows may take the loop's time. */
    if (r->conn)
        hp_conn_done(r->conn, r->body_over);
    hp_exchange_leave(r, sent && !r->app_closes && !r->shut && surplus == 0 && (r->fcgi || r->framing != HP_HEAD_CLOSE), 0);
    hp_exchange_destroy(r);
}

void hp_exchange_abandon(hp_exchange_t *r)
{
    r->state = HP_EXCHANGE_OVER;
    hp_exchange_leave(r, 0, 0);
    hp_exchange_destroy(r);
}
