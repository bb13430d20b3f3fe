/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addition, subtraction, multiplication, maximum, minimum and PRELU with broadcast (SPEC.md,
 * ELEMENTWISE).
 */
#ifndef NARROWS_KERNELS_ELEMENTWISE_H
#define NARROWS_KERNELS_ELEMENTWISE_H

#include "../src/requant.h"
#include "variants.h"

enum nrw_elementwise_function {
    NRW_ADD = 0,
    NRW_SUB = 1,
    NRW_MUL = 2,
    NRW_MAXIMUM = 3,
    NRW_MINIMUM = 4,
    NRW_PRELU = 5,
    NRW_SQUARED_DIFFERENCE = 6
};

struct nrw_elementwise_op {
    int32_t function;                   /* enum nrw_elementwise_function */
    int32_t left_shift;                 /* 0 to 20; ADD, SUB, SQUARED_DIFFERENCE */
    int32_t a_zero_point;               /* each -128 to 127 */
    int32_t b_zero_point;
    int32_t out_zero_point;
    int32_t a_multiplier, a_shift;      /* as left_shift; PRELU, for a of zero and above */
    int32_t b_multiplier, b_shift;      /* as left_shift */
    int32_t out_multiplier, out_shift;  /* all but MAXIMUM and MINIMUM */
    int32_t act_min, act_max;
};

/* An operand of one row: element (pixel, channel) is
 * data[pixel * pixel_stride + channel * channel_stride]; strides are 0 where it is broadcast. */
struct nrw_operand {
    const int8_t *data;
    uint32_t pixel_stride;
    uint32_t channel_stride;            /* 0 or 1 */
};

/* Whether the elements of a row stand side by side. */
static inline int nrw_is_dense(const struct nrw_operand *operand, uint32_t pixels,
                               uint32_t channels)
{
    return operand->channel_stride == 1 && (pixels == 1 || operand->pixel_stride == channels);
}

/* Whether a function is a sum or a product, which kernels with instructions of their own know. */
static inline int nrw_is_sum_or_product(int32_t function)
{
    return function <= NRW_MUL;
}

/* out: [pixels][channels] without gaps; may be an operand's data if that has no gaps either. */
typedef void nrw_elementwise_kernel(const struct nrw_elementwise_op *op,
                                    const struct nrw_operand *a, const struct nrw_operand *b,
                                    uint32_t pixels, uint32_t channels, int8_t *out);

/* Every implementation: X(suffix). */
#define NRW_ELEMENTWISE_VARIANTS(X) X(c) X(fast) \
    NRW_WITH_DSP(X(dsp)) NRW_WITH_MVE(X(mve)) NRW_WITH_AVX2(X(avx2)) NRW_WITH_NEON(X(neon))

#define NRW_DECLARE(suffix) nrw_elementwise_kernel nrw_elementwise_##suffix;
NRW_ELEMENTWISE_VARIANTS(NRW_DECLARE)
#undef NRW_DECLARE

#endif
