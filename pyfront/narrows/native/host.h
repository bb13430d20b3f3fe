/* SPDX-License-Identifier: Apache-2.0 */
/* What Python needs beside the public header, so that whole inferences stay in C. */
#ifndef NARROWS_HOST_H
#define NARROWS_HOST_H

#include "narrows.h"

/* cffi: begin */

/* Run to the end: inputs[i] and outputs[i] are whole tensors, height * width * channels
 * int8. stage_ns: nanoseconds added up per stage, or NULL; pushed rows count for their
 * INPUT stage. stack_bytes: how much stack the runtime used, measured by running it on a
 * painted stack of its own, or NULL. Returns NRW_DONE or an error. */
int host_infer(struct nrw_run *run, const int8_t *const *inputs, int8_t *const *outputs,
               uint64_t *stage_ns, uint32_t *stack_bytes);

/* sizeof of the structures, so that Python can prove that it sees the same layout. */
size_t host_sizeof_model(void);
size_t host_sizeof_run(void);
size_t host_sizeof_tensor_info(void);
size_t host_sizeof_bottleneck_shape(void);

/* cffi: end */
#endif
