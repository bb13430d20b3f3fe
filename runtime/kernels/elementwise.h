/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addition, subtraction and multiplication with broadcast (SPEC.md, ELEMENTWISE).
 */
#ifndef NARROWS_KERNELS_ELEMENTWISE_H
#define NARROWS_KERNELS_ELEMENTWISE_H

#include "../src/requant.h"

enum nrw_elementwise_function { NRW_ADD = 0, NRW_SUB = 1, NRW_MUL = 2 };

struct nrw_elementwise_op {
    int32_t function;                   /* enum nrw_elementwise_function */
    int32_t left_shift;                 /* 0 to 20; ADD and SUB */
    int32_t a_zero_point;               /* each -128 to 127 */
    int32_t b_zero_point;
    int32_t out_zero_point;
    int32_t a_multiplier, a_shift;      /* ADD and SUB */
    int32_t b_multiplier, b_shift;
    int32_t out_multiplier, out_shift;
    int32_t act_min, act_max;
};

/* An operand of one row: element (pixel, channel) is
 * data[pixel * pixel_stride + channel * channel_stride]; strides are 0 where it is broadcast. */
struct nrw_operand {
    const int8_t *data;
    uint32_t pixel_stride;
    uint32_t channel_stride;            /* 0 or 1 */
};

/* out: [pixels][channels] without gaps; may be an operand's data if that has no gaps either. */
typedef void nrw_elementwise_kernel(const struct nrw_elementwise_op *op,
                                    const struct nrw_operand *a, const struct nrw_operand *b,
                                    uint32_t pixels, uint32_t channels, int8_t *out);

/* Every implementation: X(suffix). */
#define NRW_ELEMENTWISE_VARIANTS(X) X(c)

#define NRW_DECLARE(suffix) nrw_elementwise_kernel nrw_elementwise_##suffix;
NRW_ELEMENTWISE_VARIANTS(NRW_DECLARE)
#undef NRW_DECLARE

#endif
