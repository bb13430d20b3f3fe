/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What operators compute with: from the records of a blob to the pixels of rings and the windows of
 * kernels. The engine has seen to it that a firing's pixels are there, and nrw_open has checked all
 * that is read here.
 */
#ifndef NARROWS_STAGE_H
#define NARROWS_STAGE_H

#include <string.h>

#include "../kernels/kernels.h"
#include "firing.h"

/* The window over the pixels of the stage's input that columns [x0, x1) of row y of what
 * `geometry` gives need. rows: room for kernel_h pointers. */
void nrw_gather(struct nrw_window *window, const struct nrw_run *run,
                const struct nrw_stage *stage, const struct nrw_geometry *geometry, int32_t y,
                int32_t x0, int32_t x1, const int8_t **rows);

/* A window over rows of the stage's first input, which point to column `origin`. */
static inline void nrw_window_over(struct nrw_window *window, const struct nrw_geometry *geometry,
                                   const struct nrw_tensor *in, const int8_t *const *rows,
                                   int32_t origin)
{
    window->rows = rows;
    window->origin = origin;
    window->in_width = in->width;
    window->pixel_stride = nrw_pixel_bytes(in);
    window->kernel_h = geometry->kernel_h;
    window->kernel_w = geometry->kernel_w;
    window->stride_w = geometry->stride_w;
    window->dilation_w = geometry->dilation_w;
    window->pad_left = geometry->pad_left;
}

/* Moves the pixels of an input that the firing's windows cover, all of one row, to places
 * out_stride bytes apart. Returns whether there are any. */
bool nrw_move_strip(const struct nrw_run *run, const struct nrw_stage *stage, uint32_t input,
                    const struct nrw_firing *firing, int8_t *to, uint32_t out_stride);

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

/* Bytes of an arena offset, whose highest bits name the memory. */
static inline uint8_t *nrw_arena(const struct nrw_run *run, uint32_t offset)
{
    return run->memories[offset >> 28] + (offset & 0x0FFFFFFFu);
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
    return (tensor->flags & NRW_CONSTANT) != 0
               ? (const int8_t *)run->model->blob + tensor->offset
               : (const int8_t *)nrw_arena(run, tensor->offset);
}

/* Pixel of a tensor, in its ring or in the blob. */
static inline const int8_t *nrw_pixel_at(const struct nrw_run *run,
                                         const struct nrw_tensor *tensor, uint32_t pixel)
{
    return nrw_start_of(run, tensor) + nrw_slot(tensor, pixel) * nrw_pixel_bytes(tensor);
}

/* Pixel (y, x) of the stage's output, to be written; those of a firing's row stand behind it. */
static inline int8_t *nrw_out(const struct nrw_run *run, const struct nrw_tensor *tensor,
                              int32_t y, int32_t x)
{
    return (int8_t *)nrw_arena(run, tensor->offset) +
           nrw_slot(tensor, (uint32_t)(y * tensor->width + x)) * nrw_pixel_bytes(tensor);
}

/* The first pixel of the output that a firing gives; those of the strip stand behind it. */
int8_t *nrw_strip_out(const struct nrw_run *run, const struct nrw_stage *stage,
                      const struct nrw_firing *firing);

/* Copies a wrapped row's pixels side by side into the last part of the stage's scratch: `bytes` of
 * an input's ring from `start` on, which go on at the ring's start. */
const int8_t *nrw_copy_wrapped(const struct nrw_run *run, const struct nrw_stage *stage,
                               uint32_t input, const int8_t *start, uint32_t bytes);

/* Pixels [left, right) of a row of the stage's input, side by side. No firing reads more than one
 * wrapped row of an input, so all of them share one place in the scratch. */
const int8_t *nrw_segment(const struct nrw_run *run, const struct nrw_stage *stage,
                          uint32_t input, int32_t row, int32_t left, int32_t right);

/* The pixels of an input that have the numbers of those that a firing gives, side by side. */
const int8_t *nrw_strip_in(const struct nrw_run *run, const struct nrw_stage *stage,
                           uint32_t input, const struct nrw_firing *firing);

#endif
