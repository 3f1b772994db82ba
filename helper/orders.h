/* What the core orders from the watchdog, about the process of a number. */
#ifndef HP_ORDERS_H
#define HP_ORDERS_H

#include "helper/context.h"
#include "helper/msg.h"
#include "helper/spec.h"

/* To be ended, or to say where it is. */
void hp_orders_signal(const hp_context_t *ctx, uint64_t id, hp_msg_signal_t signal);
/* A process that loads the code itself; `may_preload`: or becomes a preloader. */
void hp_orders_spawn(const hp_context_t *ctx, uint64_t id, int may_preload, const hp_spec_t *spec);
/* One that the preloader `by` forks. */
void hp_orders_fork(const hp_context_t *ctx, uint64_t id, uint64_t by, const hp_spec_t *spec);
/* What a later core must know about it. */
void hp_orders_note(const hp_context_t *ctx, uint64_t id, const ag_frame_t *note);

#endif
