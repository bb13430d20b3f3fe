/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools and means: per channel, over the elements of a window that are inside the input
 * (dilation 1; rows that are NULL count for nothing). Averages come in two forms: at once
 * from a window of rows, or row by row through sums that live between firings. Sums are
 * modulo 2^32.
 */
#ifndef NARROWS_KERNELS_POOL_H
#define NARROWS_KERNELS_POOL_H

#include "../src/requant.h"
#include "window.h"

/* How a sum becomes an output. */
struct nrw_average_op {
    uint32_t channels;                  /* 1 to 65535 */
    int32_t requantize;                 /* 0: AVG_POOL, sum / count rounded to nearest,
                                           halves away from zero; 1: MEAN,
                                           requantize(sum + mean.bias) + out_zero_point */
    struct nrw_channel mean;            /* MEAN */
    int32_t out_zero_point;             /* MEAN */
    int32_t act_min, act_max;           /* -128, 127 for MEAN */
};

/* The average over the window; AVG_POOL: at least one element of it is inside.
 * out: channels int8 per pixel, must not overlap the input. */
typedef void nrw_average_kernel(const struct nrw_average_op *average,
                                const struct nrw_window *window, int32_t x0, int32_t x1,
                                int8_t *out, uint32_t out_stride);

/* sums[x - x0][channel] += the window's elements. The caller clears the sums first. */
typedef void nrw_sum_kernel(uint32_t channels, const struct nrw_window *window, int32_t x0,
                            int32_t x1, int32_t *sums);

/* From finished sums to the output. rows: how many input rows were summed; of the window
 * only columns count, its rows may be NULL. */
typedef void nrw_average_finish_kernel(const struct nrw_average_op *average,
                                       const struct nrw_window *window, uint32_t rows,
                                       int32_t x0, int32_t x1, const int32_t *sums, int8_t *out,
                                       uint32_t out_stride);

/* The maximum, clamped; at least one element of the window is inside. */
typedef void nrw_max_pool_kernel(uint32_t channels, int32_t act_min, int32_t act_max,
                                 const struct nrw_window *window, int32_t x0, int32_t x1,
                                 int8_t *out, uint32_t out_stride);

/* Every implementation: X(suffix). */
#define NRW_POOL_VARIANTS(X) X(c)

#define NRW_DECLARE(suffix)                             \
    nrw_average_kernel nrw_average_##suffix;                 \
    nrw_sum_kernel nrw_sum_##suffix;                         \
    nrw_average_finish_kernel nrw_average_finish_##suffix;   \
    nrw_max_pool_kernel nrw_max_pool_##suffix;
NRW_POOL_VARIANTS(NRW_DECLARE)
#undef NRW_DECLARE

#endif
