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
#include "variants.h"
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

/* sum / count to nearest, halves away from zero. */
static inline int32_t nrw_divide_sum(int32_t sum, uint32_t count)
{
    const uint32_t magnitude = sum < 0 ? 0u - (uint32_t)sum : (uint32_t)sum;
    const uint32_t quotient = (magnitude + count / 2) / count;

    return (int32_t)(sum < 0 ? 0u - quotient : quotient);
}

/* Every implementation: X(suffix). */
#define NRW_POOL_VARIANTS(X) X(c) NRW_WITH_DSP(X(dsp)) NRW_WITH_MVE(X(mve))

#define NRW_DECLARE(suffix)                             \
    nrw_average_kernel nrw_average_##suffix;                 \
    nrw_sum_kernel nrw_sum_##suffix;                         \
    nrw_average_finish_kernel nrw_average_finish_##suffix;   \
    nrw_max_pool_kernel nrw_max_pool_##suffix;
NRW_POOL_VARIANTS(NRW_DECLARE)
#undef NRW_DECLARE

/* --- What implementations share ------------------------------------------------------------- *
 * They differ in how a row is added and how sums are finished.
 */

/* A compiler has to see which functions it calls to make them a part of the loops. */
#define NRW_BY_ROWS static inline __attribute__((always_inline))

/* Channels averaged together; their sums stand on the stack. */
enum { NRW_AVERAGED = 16 };

/* sums[k] += the elements of a row that are inside, channels c to c + count. row: NULL if it is
 * padding. */
typedef void nrw_add_row(int32_t *sums, const struct nrw_window *window, const int8_t *row,
                         struct nrw_taps taps, uint32_t c, uint32_t count);

/* The sums of `elements` elements each, of `count` channels, to outputs. */
typedef void nrw_finish_sums(const struct nrw_average_op *op, const int32_t *sums,
                             uint32_t elements, uint32_t count, int8_t *out);

/* The portable one. */
NRW_SHARED void nrw_finish_averages(const struct nrw_average_op *op, const int32_t *sums,
                                    uint32_t elements, uint32_t count, int8_t *out)
{
    for (uint32_t k = 0; k < count; k++) {
        int32_t value;

        if (op->requantize) {
            value = nrw_requantize(nrw_wrapping_add(sums[k], op->mean.bias), op->mean.multiplier,
                                   op->mean.shift);
            value = nrw_wrapping_add(value, op->out_zero_point);
        } else {
            value = nrw_divide_sum(sums[k], elements);
        }
        out[k] = (int8_t)nrw_clamp(value, op->act_min, op->act_max);
    }
}

/* As nrw_average_kernel. */
NRW_BY_ROWS void nrw_average_by_rows(nrw_add_row *add_row, nrw_finish_sums *finish,
                                     const struct nrw_average_op *op,
                                     const struct nrw_window *window, int32_t x0, int32_t x1,
                                     int8_t *out, uint32_t out_stride)
{
    uint32_t rows = 0;

    for (uint32_t i = 0; i < window->kernel_h; i++) {
        rows += window->rows[i] != NULL;
    }
    for (int32_t x = x0; x < x1; x++, out += out_stride) {
        const struct nrw_taps taps = nrw_taps_inside(window, x);
        const uint32_t elements = rows * (uint32_t)(taps.end - taps.first);

        for (uint32_t c = 0; c < op->channels; c += NRW_AVERAGED) {
            const uint32_t left = op->channels - c;
            const uint32_t count = left < NRW_AVERAGED ? left : NRW_AVERAGED;
            int32_t sums[NRW_AVERAGED] = {0};

            for (uint32_t i = 0; i < window->kernel_h; i++) {
                add_row(sums, window, window->rows[i], taps, c, count);
            }
            finish(op, sums, elements, count, out + c);
        }
    }
}

/* As nrw_sum_kernel. */
NRW_BY_ROWS void nrw_sum_by_rows(nrw_add_row *add_row, uint32_t channels,
                                 const struct nrw_window *window, int32_t x0, int32_t x1,
                                 int32_t *sums)
{
    for (int32_t x = x0; x < x1; x++, sums += channels) {
        const struct nrw_taps taps = nrw_taps_inside(window, x);

        for (uint32_t i = 0; i < window->kernel_h; i++) {
            add_row(sums, window, window->rows[i], taps, 0, channels);
        }
    }
}

/* As nrw_average_finish_kernel. */
NRW_BY_ROWS void nrw_average_finish_by_rows(nrw_finish_sums *finish,
                                            const struct nrw_average_op *op,
                                            const struct nrw_window *window, uint32_t rows,
                                            int32_t x0, int32_t x1, const int32_t *sums,
                                            int8_t *out, uint32_t out_stride)
{
    for (int32_t x = x0; x < x1; x++, sums += op->channels, out += out_stride) {
        const struct nrw_taps taps = nrw_taps_inside(window, x);

        finish(op, sums, rows * (uint32_t)(taps.end - taps.first), op->channels, out);
    }
}

#endif
