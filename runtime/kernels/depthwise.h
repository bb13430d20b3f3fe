/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Depthwise convolution: output channel c reads input channel c / depth_multiplier alone.
 * Arithmetic as in conv.h.
 */
#ifndef NARROWS_KERNELS_DEPTHWISE_H
#define NARROWS_KERNELS_DEPTHWISE_H

#include "../src/requant.h"
#include "variants.h"
#include "window.h"

struct nrw_depthwise_op {
    const int8_t *weights;              /* in the kernel's layout */
    const struct nrw_channel *channels; /* [out_channels] */
    uint32_t out_channels;              /* 1 to 65535 */
    uint32_t depth_multiplier;          /* 1 or more */
    int32_t in_zero_point;              /* each -128 to 127 */
    int32_t out_zero_point;
    int32_t act_min, act_max;
    int32_t most_shift;                 /* no channel has a higher one */
};

/* Output channels [first_channel, first_channel + count), of which the first is a multiple of the
 * depth multiplier and reads the channel that the window's rows point to. The pixels [x0, x1) go to
 * `count` bytes each, out_stride bytes apart, which must not overlap the input.
 * scratch: nrw_depthwise_scratch_bytes of `count` channels, 16-byte aligned. */
typedef void nrw_depthwise_kernel(const struct nrw_depthwise_op *depthwise,
                                  const struct nrw_window *window, int32_t x0, int32_t x1,
                                  uint32_t first_channel, uint32_t count, int8_t *out,
                                  uint32_t out_stride, void *scratch);

/* Sums of output pixel x over two rows of a window of three columns at the most, which have 18
 * bits, stand in the place of two pixels of the row: of channel k bits 0 to 7 in pixel 2x, bits 8
 * to 15 in pixel 2x + 1; and bits 16 and 17 apart, those of four channels in a byte. */
struct nrw_folded {
    int8_t *row;    /* of pixel 0, out_channels bytes a pixel */
    uint8_t *highs; /* of pixel 0, (out_channels + 3) / 4 bytes a pixel */
};

/* The first two rows of a 3x3 kernel over a window of two rows, of which the first may stand in the
 * folded row (column c at pixel c + pad_left): sums of pixels [x0, x1), without bias, replace what
 * no later window needs. */
typedef void nrw_depthwise_fold_kernel(const struct nrw_depthwise_op *depthwise,
                                       const struct nrw_window *window, int32_t x0, int32_t x1,
                                       const struct nrw_folded *folded);

/* Folded sums of pixels [x0, x1) and the third row of the kernel over a window of one row: outputs
 * as of nrw_depthwise_kernel. */
typedef void nrw_depthwise_unfold_kernel(const struct nrw_depthwise_op *depthwise,
                                         const struct nrw_window *window, int32_t x0, int32_t x1,
                                         const struct nrw_folded *folded, int8_t *out,
                                         uint32_t out_stride);

/* Every implementation: X(suffix, layout). */
#define NRW_DEPTHWISE_VARIANTS(X) \
    X(c, NRW_LAYOUT_PLAIN)        \
    X(fast, NRW_LAYOUT_PLAIN)     \
    NRW_WITH_DSP(X(dsp, NRW_LAYOUT_PLAIN)) \
    NRW_WITH_MVE(X(mve, NRW_LAYOUT_PLAIN)) \
    NRW_WITH_AVX2(X(avx2, NRW_LAYOUT_PLAIN)) \
    NRW_WITH_NEON(X(neon, NRW_LAYOUT_PLAIN))

#define NRW_DECLARE(suffix, layout) nrw_depthwise_kernel nrw_depthwise_##suffix;
NRW_DEPTHWISE_VARIANTS(NRW_DECLARE)
#undef NRW_DECLARE

/* Every implementation of folding and unfolding: X(suffix). */
#define NRW_DEPTHWISE_FOLD_VARIANTS(X) X(c) \
    NRW_WITH_DSP(X(dsp)) NRW_WITH_MVE(X(mve)) NRW_WITH_AVX2(X(avx2)) NRW_WITH_NEON(X(neon))

#define NRW_DECLARE(suffix)                                \
    nrw_depthwise_fold_kernel nrw_depthwise_fold_##suffix; \
    nrw_depthwise_unfold_kernel nrw_depthwise_unfold_##suffix;
NRW_DEPTHWISE_FOLD_VARIANTS(NRW_DECLARE)
#undef NRW_DECLARE

#endif
