/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolution. Per output channel, acc = bias + sum of weight * input modulo 2^32, padding
 * counting as in_zero_point; the output is
 * clamp(requantize(acc) + out_zero_point, act_min, act_max).
 */
#ifndef NARROWS_KERNELS_CONV_H
#define NARROWS_KERNELS_CONV_H

#include "../src/requant.h"
#include "variants.h"
#include "window.h"

struct nrw_conv_op {
    const int8_t *weights;              /* in the kernel's layout */
    const struct nrw_channel *channels; /* [out_channels] */
    uint32_t in_channels;               /* each 1 to 65535 */
    uint32_t out_channels;
    int32_t in_zero_point;              /* each -128 to 127 */
    int32_t out_zero_point;
    int32_t act_min, act_max;
    int32_t most_shift;                 /* no channel has a higher one */
};

/* Output channels [first_output, first_output + count) of the pixels [x0, x1), to `count` bytes
 * each, out_stride bytes apart, which must not overlap the input.
 * scratch: nrw_conv_scratch_bytes of `count` output channels and x1 - x0 pixels or more, 16-byte
 * aligned. */
typedef void nrw_conv_kernel(const struct nrw_conv_op *conv, const struct nrw_window *window,
                             int32_t x0, int32_t x1, uint32_t first_output, uint32_t count,
                             int8_t *out, uint32_t out_stride, void *scratch);

/* Input channels [first_input, first_input + count) of a 1x1 convolution, added into running sums
 * [pixels][out_channels] modulo 2^32. in: `count` channels of each pixel, in_stride bytes apart.
 * The caller clears the sums first. */
typedef void nrw_conv_accumulate_kernel(const struct nrw_conv_op *conv, uint32_t first_input,
                                        uint32_t count, const int8_t *in, uint32_t in_stride,
                                        uint32_t pixels, int32_t *sums);

/* From finished sums [pixels][out_channels] to the output; of conv it reads channels (the
 * bias is added here), out_channels, out_zero_point and the clamp. */
typedef void nrw_conv_finish_kernel(const struct nrw_conv_op *conv, const int32_t *sums,
                                    uint32_t pixels, int8_t *out, uint32_t out_stride);

/* Every implementation: X(suffix, layout). */
#define NRW_CONV_VARIANTS(X)         \
    X(c, NRW_LAYOUT_PLAIN)           \
    X(blocked_c, NRW_LAYOUT_BLOCKED) \
    X(paired_c, NRW_LAYOUT_PAIRED) \
    X(blocked_fast, NRW_LAYOUT_BLOCKED) \
    NRW_WITH_DSP(X(paired_dsp, NRW_LAYOUT_PAIRED)) \
    NRW_WITH_MVE(X(mve, NRW_LAYOUT_PLAIN)) \
    NRW_WITH_AVX2(X(avx2, NRW_LAYOUT_PLAIN)) \
    NRW_WITH_AVX2(X(blocked_avx2, NRW_LAYOUT_BLOCKED)) \
    NRW_WITH_NEON(X(neon, NRW_LAYOUT_PLAIN)) \
    NRW_WITH_NEON(X(blocked_neon, NRW_LAYOUT_BLOCKED))

#define NRW_DECLARE(suffix, layout)                          \
    nrw_conv_kernel nrw_conv_##suffix;                       \
    nrw_conv_accumulate_kernel nrw_conv_accumulate_##suffix;
NRW_CONV_VARIANTS(NRW_DECLARE)
#undef NRW_DECLARE

/* Sums have no layout. Every implementation: X(suffix). */
#define NRW_CONV_FINISH_VARIANTS(X) X(c) X(fast) \
    NRW_WITH_DSP(X(dsp)) NRW_WITH_MVE(X(mve)) NRW_WITH_AVX2(X(avx2)) NRW_WITH_NEON(X(neon))

#define NRW_DECLARE(suffix) nrw_conv_finish_kernel nrw_conv_finish_##suffix;
NRW_CONV_FINISH_VARIANTS(NRW_DECLARE)
#undef NRW_DECLARE

#endif
