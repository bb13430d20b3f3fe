/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Depthwise convolution: output channel c reads input channel c / depth_multiplier alone.
 * Arithmetic as in conv.h. A slice of the channels is computed by advancing weights,
 * channels, the window's rows and out, and lowering out_channels; weight_stride and the
 * window's pixel_stride stay. (With a depth multiplier, slices start at multiples of it.)
 */
#ifndef NARROWS_KERNELS_DEPTHWISE_H
#define NARROWS_KERNELS_DEPTHWISE_H

#include "../src/requant.h"
#include "window.h"

struct nrw_depthwise_op {
    const int8_t *weights;              /* [kernel_h][kernel_w], each weight_stride bytes */
    const struct nrw_channel *channels; /* [out_channels] */
    uint32_t weight_stride;             /* channels of the whole operator */
    uint32_t out_channels;              /* to compute, 1 to 65535 */
    uint32_t depth_multiplier;          /* 1 or more */
    int32_t in_zero_point;              /* each -128 to 127 */
    int32_t out_zero_point;
    int32_t act_min, act_max;
};

/* out: out_channels int8 per pixel, must not overlap the input.
 * scratch: nrw_depthwise_scratch_bytes, 16-byte aligned. */
typedef void nrw_depthwise_kernel(const struct nrw_depthwise_op *depthwise,
                                  const struct nrw_window *window, int32_t x0, int32_t x1,
                                  int8_t *out, uint32_t out_stride, void *scratch);

/* Sums of output pixel x over two rows of a window of three columns at the most, which have 18
 * bits, stand in the place of two pixels of the row: of channel k bits 0 to 7 in pixel 2x, bits 8
 * to 15 in pixel 2x + 1; and bits 16 and 17 apart, those of four channels in a byte. */
struct nrw_folded {
    int8_t *row;    /* of pixel 0, out_channels bytes a pixel */
    uint8_t *highs; /* of pixel 0, (out_channels + 3) / 4 bytes a pixel */
};

/* A window of two rows, of which the first may stand in the folded row (column c at pixel
 * c + pad_left): sums of pixels [x0, x1), without bias, replace what no later window needs. */
typedef void nrw_depthwise_fold_kernel(const struct nrw_depthwise_op *depthwise,
                                       const struct nrw_window *window, int32_t x0, int32_t x1,
                                       const struct nrw_folded *folded);

/* Folded sums of pixels [x0, x1) and a window of one row: outputs as of nrw_depthwise_kernel. */
typedef void nrw_depthwise_unfold_kernel(const struct nrw_depthwise_op *depthwise,
                                         const struct nrw_window *window, int32_t x0, int32_t x1,
                                         const struct nrw_folded *folded, int8_t *out,
                                         uint32_t out_stride);

/* Every variant: X(suffix, instruction-set class). */
#define NRW_DEPTHWISE_VARIANTS(X) X(c, 0)

#define NRW_DECLARE(suffix, isa)                                    \
    nrw_depthwise_kernel nrw_depthwise_##suffix;                    \
    nrw_depthwise_fold_kernel nrw_depthwise_fold_##suffix;          \
    nrw_depthwise_unfold_kernel nrw_depthwise_unfold_##suffix;
NRW_DEPTHWISE_VARIANTS(NRW_DECLARE)
#undef NRW_DECLARE

#endif
