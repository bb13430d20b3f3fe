/* SPDX-License-Identifier: Apache-2.0 */
/* What Python needs beside the public header, so that whole inferences stay in C. */
#ifndef NARROWS_HOST_H
#define NARROWS_HOST_H

#include "narrows.h"

/* cffi: begin */

/* Go on with an inference that nrw_start has begun, for some tenths of a second, as the clock says
 * after every so many steps: so the caller has a say (Ctrl-C). inputs[i] and outputs[i] are whole
 * tensors, height * width * channels int8. stage_ns: nanoseconds added up per stage, or NULL; pushed
 * rows count for their INPUT stage. stack_bytes: how much stack the runtime used, measured by running
 * it on a painted stack of its own, or NULL. Returns NRW_OK if there is more to do, NRW_DONE or an
 * error. */
int host_infer(struct nrw_run *run, uint32_t steps, const int8_t *const *inputs,
               int8_t *const *outputs, uint64_t *stage_ns, uint32_t *stack_bytes);

/* Every tensor of an inference, whole. values[t]: height * width * channels int8; unseen[t]: as many,
 * 0 where a value has been seen. reached[t]: bytes up to the last one seen. The caller begins with
 * unseen all 1 and reached all 0. */
struct host_seen {
    int8_t *const *values;
    uint8_t *const *unseen;
    uint32_t *reached;
};

/* As host_infer; each element of a tensor is seen right after the firing that made it, before
 * anything else may stand in its place. */
int host_observe(struct nrw_run *run, uint32_t steps, const int8_t *const *inputs,
                 int8_t *const *outputs, const struct host_seen *seen);

/* What the header of a blob must say of it, if all the rest is right: the most work of a step.
 * blob: 16-byte aligned. Returns NRW_OK or an error; *error_at is the place in the blob. */
int host_max_step_work(const void *blob, size_t size, uint32_t *work, uint32_t *error_at);

/* Multiply-accumulates of all firings of a stage. model: opened; stage: 0 to stage_count - 1. */
uint64_t host_stage_macs(const struct nrw_model *model, int stage);

/* sizeof of the structures, so that Python can prove that it sees the same layout. */
size_t host_sizeof_model(void);
size_t host_sizeof_run(void);
size_t host_sizeof_tensor_info(void);

/* cffi: end */
#endif
