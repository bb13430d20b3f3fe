/* SPDX-License-Identifier: Apache-2.0 */
#include "schedule.h"

#include <stdbool.h>
#include <string.h>

static bool can_fire(const struct plan_stage *stage, const struct plan_tensor *tensors)
{
    const int32_t f = stage->fired;

    for (int32_t i = 0; i < stage->input_count; i++) {
        if (tensors[stage->inputs[i]].produced < stage->hi[i][f]) {
            return false;
        }
    }
    if (stage->output < 0) {
        return true;
    }
    const struct plan_tensor *out = tensors + stage->output;
    return out->capacity == out->pixels || stage->given[f] - out->dead <= out->capacity;
}

static int32_t dead_pixels(const struct plan_stage *stages, const struct plan_tensor *tensors,
                           int32_t tensor)
{
    const struct plan_tensor *t = tensors + tensor;
    int32_t dead = t->reader_count > 0 ? t->pixels : 0;

    for (int32_t k = 0; k < t->reader_count; k++) {
        const struct plan_stage *reader = stages + t->readers[k];
        for (int32_t i = 0; reader->fired < reader->firings && i < reader->input_count; i++) {
            if (reader->inputs[i] == tensor && reader->lo[i][reader->fired] < dead) {
                dead = reader->lo[i][reader->fired];
            }
        }
    }
    return dead;
}

static void begin(struct plan_stage *stages, int32_t stage_count, struct plan_tensor *tensors,
                  int32_t tensor_count)
{
    for (int32_t s = 0; s < stage_count; s++) {
        stages[s].fired = 0;
    }
    for (int32_t t = 0; t < tensor_count; t++) {
        tensors[t].produced = 0;
        tensors[t].dead = dead_pixels(stages, tensors, t);
    }
}

int32_t plan_schedule(struct plan_stage *stages, int32_t stage_count, struct plan_tensor *tensors,
                      int32_t tensor_count, int32_t *order, uint8_t *awake)
{
    int32_t time = 0;
    int32_t next = 0; /* no stage below can fire */

    begin(stages, stage_count, tensors, tensor_count);
    memset(awake, 1, (size_t)stage_count);
    for (;;) {
        while (next < stage_count &&
               !(awake[next] && stages[next].fired < stages[next].firings &&
                 can_fire(stages + next, tensors))) {
            awake[next++] = 0;
        }
        if (next == stage_count) {
            return time;
        }
        struct plan_stage *stage = stages + next;
        const int32_t f = stage->fired++;
        const int32_t fired = next;
        stage->times[f] = time;
        order[time++] = fired;
        if (stage->output >= 0 && tensors[stage->output].produced != stage->given[f]) {
            struct plan_tensor *out = tensors + stage->output;
            out->produced = stage->given[f];
            for (int32_t k = 0; k < out->reader_count; k++) {
                awake[out->readers[k]] = 1;
            }
        }
        for (int32_t i = 0; i < stage->input_count; i++) {
            struct plan_tensor *in = tensors + stage->inputs[i];
            const int32_t dead = dead_pixels(stages, tensors, stage->inputs[i]);
            if (dead != in->dead) {
                in->dead = dead;
                awake[in->producer] = 1;
                next = in->producer < next ? in->producer : next;
            }
        }
    }
}

/* Fire one stage as often as it can. Returns whether it could. */
static bool fire_all(struct plan_stage *stages, int32_t number, struct plan_tensor *tensors)
{
    struct plan_stage *stage = stages + number;
    const int32_t before = stage->fired;

    while (stage->fired < stage->firings && can_fire(stage, tensors)) {
        if (stage->output >= 0) {
            tensors[stage->output].produced = stage->given[stage->fired];
        }
        stage->fired++;
    }
    for (int32_t i = 0; stage->fired > before && i < stage->input_count; i++) {
        tensors[stage->inputs[i]].dead = dead_pixels(stages, tensors, stage->inputs[i]);
    }
    return stage->fired > before;
}

int32_t plan_drain(struct plan_stage *stages, int32_t stage_count, struct plan_tensor *tensors,
                   int32_t tensor_count, int32_t is_begun)
{
    int32_t left = 0;
    bool is_moving = true;

    if (!is_begun) {
        begin(stages, stage_count, tensors, tensor_count);
    }
    while (is_moving) {
        is_moving = false;
        for (int32_t s = 0; s < stage_count; s++) {
            is_moving = fire_all(stages, s, tensors) || is_moving;
        }
    }
    for (int32_t s = 0; s < stage_count; s++) {
        left += stages[s].firings - stages[s].fired;
    }
    return left;
}
