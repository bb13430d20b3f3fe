/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's order of firing without its arithmetic, for the planner, which runs through it
 * hundreds of times.
 */
#ifndef NARROWS_SCHEDULE_H
#define NARROWS_SCHEDULE_H

#include <stdint.h>

/* cffi: begin */

/* A stage of a network; pixels are int32 per firing. */
struct plan_stage {
    int32_t firings;
    int32_t output;            /* tensor, -1 for none */
    int32_t input_count;       /* 0 to 4 */
    int32_t inputs[4];         /* tensors */
    const int32_t *lo[4];      /* pixels [lo, hi) of each input that a firing needs */
    const int32_t *hi[4];
    const int32_t *given;      /* pixels of the output that are there after a firing */
    int32_t *times;            /* to be filled: when each firing happens */
    int32_t fired;             /* to be filled: firings that have happened */
};

/* A tensor. */
struct plan_tensor {
    int32_t pixels;
    int32_t capacity;
    int32_t producer;          /* stage */
    int32_t reader_count;
    const int32_t *readers;    /* stages, ascending, each once */
    int32_t produced;          /* to be filled, like dead */
    int32_t dead;
};

/* Fire all stages by the rule of runtime/SPEC.md, "Firing", until none can. order: room for
 * every firing, filled with stage numbers. awake: room for a byte per stage. Returns how many
 * firings happened. */
int32_t plan_schedule(struct plan_stage *stages, int32_t stage_count, struct plan_tensor *tensors,
                      int32_t tensor_count, int32_t *order, uint8_t *awake);

/* Fire as long as any stage can, in an order that does not matter: what has happened in the end
 * is the same in every one. is_begun: go on from where an earlier call has ended, with rings that
 * have grown since. Returns how many firings are left: more than none if the network stalls. */
int32_t plan_drain(struct plan_stage *stages, int32_t stage_count, struct plan_tensor *tensors,
                   int32_t tensor_count, int32_t is_begun);

/* cffi: end */

#endif
