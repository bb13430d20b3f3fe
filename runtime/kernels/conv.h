/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolution. Per output channel, acc = bias + sum of weight * input modulo 2^32, padding
 * counting as in_zero_point; the output is
 * clamp(requantize(acc) + out_zero_point, act_min, act_max).
 */
#ifndef NARROWS_KERNELS_CONV_H
#define NARROWS_KERNELS_CONV_H

#include "../src/requant.h"
#include "window.h"

struct nrw_conv_op {
    const int8_t *weights;              /* [out_channels][kernel_h][kernel_w][in_channels] */
    const struct nrw_channel *channels; /* [out_channels] */
    uint32_t in_channels;               /* each 1 to 65535 */
    uint32_t out_channels;
    int32_t in_zero_point;              /* each -128 to 127 */
    int32_t out_zero_point;
    int32_t act_min, act_max;
};

/* out: out_channels int8 per pixel, must not overlap the input.
 * scratch: nrw_conv_scratch_bytes, 16-byte aligned. */
typedef void nrw_conv_kernel(const struct nrw_conv_op *conv, const struct nrw_window *window,
                             int32_t x0, int32_t x1, int8_t *out, uint32_t out_stride,
                             void *scratch);

/* One channel slice of a 1x1 convolution, added into running sums:
 * sums[p][o] += sum over k < depth of weights[o * weight_stride + k] * in[p * in_stride + k],
 * modulo 2^32; sums is [pixels][out_channels]. The caller clears the sums first. */
typedef void nrw_conv_accumulate_kernel(const int8_t *weights, uint32_t weight_stride,
                                        const int8_t *in, uint32_t in_stride, uint32_t depth,
                                        uint32_t pixels, uint32_t out_channels, int32_t *sums);

/* From finished sums [pixels][out_channels] to the output; of conv it reads channels (the
 * bias is added here), out_channels, out_zero_point and the clamp. */
typedef void nrw_conv_finish_kernel(const struct nrw_conv_op *conv, const int32_t *sums,
                                    uint32_t pixels, int8_t *out, uint32_t out_stride);

/* Every variant: X(suffix, instruction-set class). */
#define NRW_CONV_VARIANTS(X) X(c, 0)

#define NRW_DECLARE(suffix, isa)                                 \
    nrw_conv_kernel nrw_conv_##suffix;                           \
    nrw_conv_accumulate_kernel nrw_conv_accumulate_##suffix;     \
    nrw_conv_finish_kernel nrw_conv_finish_##suffix;
NRW_CONV_VARIANTS(NRW_DECLARE)
#undef NRW_DECLARE

#endif
