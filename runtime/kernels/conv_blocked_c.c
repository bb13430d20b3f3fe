/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The definition of NRW_LAYOUT_BLOCKED: each weight is found where layouts.h says that it stands.
 */
#include "conv.h"
#include "layouts.h"

/* Adds the products of `count` input channels, from first_input on, at one tap to the sums of
 * output channels [first_output, first_output + outputs). in: NULL if every element is the zero
 * point. */
static void add_tap(uint32_t *sums, const struct nrw_conv_op *conv, uint32_t first_output,
                    uint32_t outputs, size_t block_bytes, uint32_t tap, uint32_t first_input,
                    uint32_t count, const int8_t *in)
{
    for (uint32_t o = first_output; o < first_output + outputs; o++, sums++) {
        const int8_t *const weights = conv->weights + o / NRW_LAYOUT_BLOCK * block_bytes +
                                      o % NRW_LAYOUT_BLOCK * NRW_LAYOUT_BLOCK;
        uint32_t sum = *sums;

        for (uint32_t k = 0; k < count; k++) {
            const size_t at = nrw_blocked_at(tap, first_input + k, conv->in_channels);

            sum += (uint32_t)(weights[at] * (in ? in[k] : conv->in_zero_point));
        }
        *sums = sum;
    }
}

/* Bytes of a block of output channels. */
static size_t block_bytes_of(const struct nrw_conv_op *conv, uint32_t taps)
{
    return (size_t)NRW_LAYOUT_BLOCK * taps * nrw_whole_blocks(conv->in_channels);
}

static void add_window(uint32_t *sums, const struct nrw_conv_op *conv,
                       const struct nrw_window *window, struct nrw_taps taps,
                       uint32_t first_output, uint32_t outputs)
{
    const size_t block_bytes =
        block_bytes_of(conv, (uint32_t)window->kernel_h * window->kernel_w);
    uint32_t tap = 0;

    for (uint32_t i = 0; i < window->kernel_h; i++) {
        const int8_t *const row = window->rows[i];
        int32_t column = taps.column;

        for (int32_t j = 0; j < window->kernel_w; j++, tap++) {
            const int8_t *in = NULL;

            if (row && j >= taps.first && j < taps.end) {
                in = nrw_pixel(window, row, column);
                column += window->dilation_w;
            }
            add_tap(sums, conv, first_output, outputs, block_bytes, tap, 0, conv->in_channels,
                    in);
        }
    }
}

void nrw_conv_blocked_c(const struct nrw_conv_op *conv, const struct nrw_window *window,
                        int32_t x0, int32_t x1, uint32_t first_output, uint32_t count,
                        int8_t *out, uint32_t out_stride, void *scratch)
{
    (void)scratch;
    for (int32_t x = x0; x < x1; x++, out += out_stride) {
        const struct nrw_taps taps = nrw_taps_inside(window, x);

        for (uint32_t o = 0; o < count; o += NRW_BLOCK) {
            const uint32_t left = count - o;
            const uint32_t some = left < NRW_BLOCK ? left : NRW_BLOCK;
            uint32_t sums[NRW_BLOCK];

            nrw_clear_block(sums);
            add_window(sums, conv, window, taps, first_output + o, some);
            nrw_finish_channels(conv->channels + first_output + o, sums, some,
                                conv->out_zero_point, conv->act_min, conv->act_max, out + o);
        }
    }
}

void nrw_conv_accumulate_blocked_c(const struct nrw_conv_op *conv, uint32_t first_input,
                                   uint32_t count, const int8_t *in, uint32_t in_stride,
                                   uint32_t pixels, int32_t *sums)
{
    for (; pixels > 0; pixels--, in += in_stride, sums += conv->out_channels) {
        add_tap((uint32_t *)sums, conv, 0, conv->out_channels, block_bytes_of(conv, 1), 0,
                first_input, count, in);
    }
}
