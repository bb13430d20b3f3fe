/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stages: from the records of a blob to calls of kernels. A stage function computes one
 * firing; the engine has seen to it that its pixels are there. Everything it reads has been
 * checked by nrw_open.
 */
#ifndef NARROWS_STAGE_H
#define NARROWS_STAGE_H

#include <string.h>

#include "../kernels/kernels_select.h"
#include "firing.h"

typedef void nrw_stage_fn(const struct nrw_run *run, const struct nrw_stage *stage,
                          const struct nrw_firing *firing);

nrw_stage_fn nrw_stage_conv;
nrw_stage_fn nrw_stage_depthwise;
nrw_stage_fn nrw_stage_rolling_depthwise;
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

/* The window over the pixels of the stage's input that columns [x0, x1) of row y of what
 * `geometry` gives need. rows: room for kernel_h pointers. */
void nrw_gather(struct nrw_window *window, const struct nrw_run *run,
                const struct nrw_stage *stage, const struct nrw_geometry *geometry, int32_t y,
                int32_t x0, int32_t x1, const int8_t **rows);

/* Everything but the zero points. */
void nrw_elementwise_op_of(struct nrw_elementwise_op *op,
                           const struct nrw_elementwise_params *params);

/* A debugging build overwrites at once what is dead or not yet there, so that a plan or a stage
 * that reads it gives wrong answers every time, not only when something else stands there. */
#ifdef NARROWS_POISON
enum { NRW_POISON = 1 };
#else
enum { NRW_POISON = 0 };
#endif

static inline void nrw_poison(void *start, size_t bytes)
{
    if (NRW_POISON && bytes > 0) {
        memset(start, 0x5A, bytes);
    }
}

/* Bytes of an arena offset, whose highest bits name the region. */
static inline uint8_t *nrw_arena(const struct nrw_run *run, uint32_t offset)
{
    return run->regions[offset >> 28] + (offset & 0x0FFFFFFFu);
}

/* Where a pixel stands in its ring. */
static inline uint32_t nrw_slot(const struct nrw_tensor *tensor, uint32_t pixel)
{
    return pixel < tensor->capacity ? pixel : pixel % tensor->capacity;
}

/* Where a tensor's ring starts, or the constant that it is. */
static inline const int8_t *nrw_start_of(const struct nrw_run *run,
                                         const struct nrw_tensor *tensor)
{
    return nrw_is_constant(tensor) ? (const int8_t *)run->model->blob + tensor->offset
                                   : (const int8_t *)nrw_arena(run, tensor->offset);
}

/* Pixel of a tensor, in its ring or in the blob. */
static inline const int8_t *nrw_pixel_at(const struct nrw_run *run,
                                         const struct nrw_tensor *tensor, uint32_t pixel)
{
    return nrw_start_of(run, tensor) + nrw_slot(tensor, pixel) * tensor->channels;
}

/* Pixel (y, x) of the stage's output, to be written; those of a firing's row stand behind it. */
static inline int8_t *nrw_out(const struct nrw_run *run, const struct nrw_tensor *tensor,
                              int32_t y, int32_t x)
{
    return (int8_t *)nrw_arena(run, tensor->offset) +
           nrw_slot(tensor, (uint32_t)(y * tensor->width + x)) * tensor->channels;
}

/* Scratch for torn rows of an input, the last part of the stage's: 0 bytes if none can be. */
uint32_t nrw_torn_bytes(const struct nrw_model *model, const struct nrw_stage *stage,
                        uint32_t input);

/* `bytes` of an input's ring from `start` on, beyond its end, copied side by side. */
const int8_t *nrw_mend(const struct nrw_run *run, const struct nrw_stage *stage, uint32_t input,
                       const int8_t *start, uint32_t bytes);

/* Pixels [left, right) of a row of the stage's input, side by side. A firing has no more than
 * one of each input that is torn, so the next one may be in the place of the last. */
static inline const int8_t *nrw_segment(const struct nrw_run *run, const struct nrw_stage *stage,
                                        uint32_t input, int32_t row, int32_t left, int32_t right)
{
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, input);
    const uint32_t slot = nrw_slot(in, (uint32_t)(row * in->width + left));
    const int8_t *start = nrw_start_of(run, in) + slot * in->channels;

    if (slot + (uint32_t)(right - left) <= in->capacity) {
        return start;
    }
    return nrw_mend(run, stage, input, start, (uint32_t)(right - left) * in->channels);
}

#endif
