/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stages: from the records of a blob to calls of kernels. A stage function computes one
 * firing; the engine has seen to it that its rows are there. Everything it reads has been
 * checked by nrw_open.
 */
#ifndef NARROWS_STAGE_H
#define NARROWS_STAGE_H

#include "../kernels/kernels_select.h"
#include "firing.h"

typedef void nrw_stage_fn(const struct nrw_run *run, const struct nrw_stage *stage,
                          uint32_t firing);

nrw_stage_fn nrw_stage_conv;
nrw_stage_fn nrw_stage_depthwise;
nrw_stage_fn nrw_stage_bottleneck;
nrw_stage_fn nrw_stage_elementwise;
nrw_stage_fn nrw_stage_avg_pool;
nrw_stage_fn nrw_stage_max_pool;
nrw_stage_fn nrw_stage_mean;
nrw_stage_fn nrw_stage_softmax;
nrw_stage_fn nrw_stage_lookup;
nrw_stage_fn nrw_stage_concat;
nrw_stage_fn nrw_stage_resize;
nrw_stage_fn nrw_stage_slice;
nrw_stage_fn nrw_stage_pad;
nrw_stage_fn nrw_stage_reshape;

/* Everything but the zero points. */
void nrw_elementwise_op_of(struct nrw_elementwise_op *op,
                           const struct nrw_elementwise_params *params);

/* Row of a tensor, in its ring or in the blob. */
static inline const int8_t *nrw_row(const struct nrw_run *run, const struct nrw_tensor *tensor,
                                    int32_t row)
{
    const void *base = nrw_is_constant(tensor) ? run->model->blob : run->arena;
    const uint32_t slot =
        tensor->capacity == tensor->height ? (uint32_t)row : (uint32_t)row % tensor->capacity;

    return (const int8_t *)base + tensor->offset + slot * nrw_row_bytes(tensor);
}

/* Row of the stage's output, to be written. */
static inline int8_t *nrw_out_row(const struct nrw_run *run, const struct nrw_tensor *tensor,
                                  uint32_t row)
{
    return (int8_t *)run->arena + tensor->offset +
           (row % tensor->capacity) * nrw_row_bytes(tensor);
}

#endif
