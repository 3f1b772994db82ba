#include "helper/orders.h"

static ag_frame_t *begin(const hp_context_t *ctx, uint32_t type, uint64_t id, apr_pool_t **pp)
{
    ag_frame_t *f;

    apr_pool_create(pp, ctx->p);
    f = ag_frame_create(*pp, type);
    ag_frame_put_u64(f, id);
    return f;
}

static void put(ag_frame_t *f, const ag_frame_t *inner)
{
    apr_size_t len;
    const char *bytes = ag_frame_data(inner, &len);

    ag_frame_put_bytes(f, bytes, len);
}

static void put_spec(ag_frame_t *f, const hp_spec_t *spec, apr_pool_t *p)
{
    ag_frame_t *inner = ag_frame_create(p, HP_MSG_SPAWN);

    hp_spec_put(inner, spec);
    put(f, inner);
}

static void send_off(const hp_context_t *ctx, const ag_frame_t *f, apr_pool_t *p)
{
    hp_chan_send(ctx->watchdog, f, NULL, 0);
    apr_pool_destroy(p);
}

void hp_orders_signal(const hp_context_t *ctx, uint64_t id, hp_msg_signal_t signal)
{
    apr_pool_t *p;
    ag_frame_t *f = begin(ctx, HP_MSG_SIGNAL, id, &p);

    ag_frame_put_u32(f, signal);
    send_off(ctx, f, p);
}

void hp_orders_spawn(const hp_context_t *ctx, uint64_t id, int may_preload, const hp_spec_t *spec)
{
    apr_pool_t *p;
    ag_frame_t *f = begin(ctx, HP_MSG_SPAWN, id, &p);

    ag_frame_put_u32(f, (uint32_t)may_preload);
    put_spec(f, spec, p);
    send_off(ctx, f, p);
}

void hp_orders_fork(const hp_context_t *ctx, uint64_t id, uint64_t by, const hp_spec_t *spec)
{
    apr_pool_t *p;
    ag_frame_t *f = begin(ctx, HP_MSG_FORK, id, &p);

    ag_frame_put_u64(f, by);
    put_spec(f, spec, p);
    send_off(ctx, f, p);
}

void hp_orders_note(const hp_context_t *ctx, uint64_t id, const ag_frame_t *note)
{
    apr_pool_t *p;
    ag_frame_t *f = begin(ctx, HP_MSG_NOTE, id, &p);

    put(f, note);
    send_off(ctx, f, p);
}
