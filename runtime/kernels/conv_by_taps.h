/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolution tap by tap, one output after another: what the definitions of layouts share, which
 * differ in where a weight stands.
 */
#ifndef NARROWS_KERNELS_CONV_BY_TAPS_H
#define NARROWS_KERNELS_CONV_BY_TAPS_H

#include "conv.h"

/* A compiler has to see which add_tap it is to keep what is the same for all taps. */
#define NRW_BY_TAPS static inline __attribute__((always_inline))

/* Adds the products of `count` input channels, from first_input on, at one of the `taps` taps of a
 * window to the sums of output channels [first_output, first_output + outputs). in: NULL if every
 * element is the zero point. */
typedef void nrw_add_tap(uint32_t *sums, const struct nrw_conv_op *conv, uint32_t first_output,
                         uint32_t outputs, uint32_t taps, uint32_t tap, uint32_t first_input,
                         uint32_t count, const int8_t *in);

NRW_BY_TAPS void nrw_add_window_by_taps(nrw_add_tap *add_tap, uint32_t *sums,
                                        const struct nrw_conv_op *conv,
                                        const struct nrw_window *window, struct nrw_taps inside,
                                        uint32_t first_output, uint32_t outputs)
{
    const uint32_t taps = (uint32_t)window->kernel_h * window->kernel_w;
    uint32_t tap = 0;

    for (uint32_t i = 0; i < window->kernel_h; i++) {
        const int8_t *const row = window->rows[i];
        int32_t column = inside.column;

        for (int32_t j = 0; j < window->kernel_w; j++, tap++) {
            const int8_t *in = NULL;

            if (row && j >= inside.first && j < inside.end) {
                in = nrw_pixel(window, row, column);
                column += window->dilation_w;
            }
            add_tap(sums, conv, first_output, outputs, taps, tap, 0, conv->in_channels, in);
        }
    }
}

/* As nrw_conv_kernel. */
NRW_BY_TAPS void nrw_conv_by_taps(nrw_add_tap *add_tap, const struct nrw_conv_op *conv,
                                  const struct nrw_window *window, int32_t x0, int32_t x1,
                                  uint32_t first_output, uint32_t count, int8_t *out,
                                  uint32_t out_stride)
{
    for (int32_t x = x0; x < x1; x++, out += out_stride) {
        const struct nrw_taps inside = nrw_taps_inside(window, x);

        for (uint32_t o = 0; o < count; o += NRW_BLOCK) {
            const uint32_t left = count - o;
            const uint32_t some = left < NRW_BLOCK ? left : NRW_BLOCK;
            uint32_t sums[NRW_BLOCK];

            nrw_clear_block(sums);
            nrw_add_window_by_taps(add_tap, sums, conv, window, inside, first_output + o, some);
            nrw_finish_channels(conv->channels + first_output + o, sums, some,
                                conv->out_zero_point, conv->act_min, conv->act_max, out + o);
        }
    }
}

/* As nrw_conv_accumulate_kernel. */
NRW_BY_TAPS void nrw_conv_accumulate_by_taps(nrw_add_tap *add_tap,
                                             const struct nrw_conv_op *conv,
                                             uint32_t first_input, uint32_t count,
                                             const int8_t *in, uint32_t in_stride,
                                             uint32_t pixels, int32_t *sums)
{
    for (; pixels > 0; pixels--, in += in_stride, sums += conv->out_channels) {
        add_tap((uint32_t *)sums, conv, 0, conv->out_channels, 1, 0, first_input, count, in);
    }
}

#endif
