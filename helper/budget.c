#include "helper/budget.h"

#define ROOM 32

/* `wish`, if that is no more than `most`. */
static int at_most(int wish, int most)
{
    return most > 0 && (wish == 0 || wish > most) ? most : wish;
}

void hp_budget_make(hp_budget_t *b, const hp_spec_t *spec, const ag_settings_t *settings)
{
    const ag_options_t *o = spec->options;
    const char *root = spec->app_root;

    b->memory = at_most(o->hard_memory_limit, ag_settings_most(settings, "hard_memory_limit", root, 1, 0));
    b->tasks = at_most(o->task_limit, ag_settings_most(settings, "task_limit", root, 1, 0));
    b->files = at_most(o->app_file_descriptor_ulimit, ag_settings_most(settings, "app_file_descriptor_ulimit", root, 1, 0));
    b->files_granted = ag_settings_most(settings, "app_file_descriptor_ulimit", root, 1, -1) >= 0;
    b->weight = at_most(o->cpu_weight, ag_settings_most(settings, "cpu_weight", root, 0, 100));
}

int hp_budget_limits_memory(const hp_spec_t *spec, const ag_settings_t *settings)
{
    hp_budget_t budget;

    hp_budget_make(&budget, spec, settings);
    return budget.memory > 0 || spec->options->memory_limit > 0;
}

int hp_budget_nice(int weight)
{
    int value = 0;

    /* Without the library of mathematics: steps until the weight is reached, but for half a step. */
    for (double at = 100; value < 19 && at * 0.9 > weight; at *= 0.8)
        value++;
    for (double at = 100; value > -20 && at * 1.12 < weight; at *= 1.25)
        value--;
    return value;
}

unsigned long hp_budget_nproc(unsigned long all, unsigned long own, int tasks)
{
    return all - own + (unsigned long)tasks + (own >= (unsigned long)tasks ? 0 : ROOM);
}
