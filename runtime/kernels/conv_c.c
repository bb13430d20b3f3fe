/* SPDX-License-Identifier: Apache-2.0 */
#include "conv.h"

/* Output channels computed together, so that an input element is read once for all. */
enum { TILE = 4 };

/* Padding is read from a block of zero points, this many at a time. */
enum { PADDING = 32 };

/* sums[o] += weights[o * stride + k] * in[k], summed over k < count, of each o < outputs. */
static void add_products(uint32_t *sums, uint32_t outputs, const int8_t *weights, uint32_t stride,
                         const int8_t *in, uint32_t count)
{
    const int8_t *const end = in + count;

    for (; outputs >= TILE; outputs -= TILE, sums += TILE, weights += TILE * stride) {
        const int8_t *w0 = weights;
        const int8_t *w1 = w0 + stride;
        const int8_t *w2 = w1 + stride;
        const int8_t *w3 = w2 + stride;
        uint32_t s0 = sums[0];
        uint32_t s1 = sums[1];
        uint32_t s2 = sums[2];
        uint32_t s3 = sums[3];

        for (const int8_t *x = in; x < end; x++) {
            const int32_t value = *x;

            s0 += (uint32_t)(*w0++ * value);
            s1 += (uint32_t)(*w1++ * value);
            s2 += (uint32_t)(*w2++ * value);
            s3 += (uint32_t)(*w3++ * value);
        }
        sums[0] = s0;
        sums[1] = s1;
        sums[2] = s2;
        sums[3] = s3;
    }
    for (; outputs > 0; outputs--, sums++, weights += stride) {
        const int8_t *w = weights;
        uint32_t sum = *sums;

        for (const int8_t *x = in; x < end; x++) {
            sum += (uint32_t)(*w++ * *x);
        }
        *sums = sum;
    }
}

/* The same for padding: every input element is the zero point. */
static void add_padding(uint32_t *sums, uint32_t outputs, const int8_t *weights, uint32_t stride,
                        int32_t zero_point, uint32_t count)
{
    int8_t padding[PADDING];

    for (uint32_t k = 0; k < PADDING; k++) {
        padding[k] = (int8_t)zero_point;
    }
    while (count > 0) {
        const uint32_t part = count < PADDING ? count : PADDING;

        add_products(sums, outputs, weights, stride, padding, part);
        weights += part;
        count -= part;
    }
}

/* Adds a whole window; weights are those of the first output channel. */
static void add_window(uint32_t *sums, uint32_t outputs, const struct nrw_conv_op *conv,
                       const struct nrw_window *window, struct nrw_taps taps,
                       const int8_t *weights, uint32_t stride)
{
    const uint32_t depth = conv->in_channels;
    const uint32_t row_depth = window->kernel_w * depth;
    const int dense = window->dilation_w == 1 && window->pixel_stride == depth;

    for (uint32_t i = 0; i < window->kernel_h; i++, weights += row_depth) {
        const int8_t *const row = window->rows[i];
        const uint32_t first = row ? (uint32_t)taps.first * depth : row_depth;
        const uint32_t end = row ? (uint32_t)taps.end * depth : row_depth;
        const uint32_t part = dense ? end - first : depth;
        int32_t column = taps.column;

        if (first > 0) {
            add_padding(sums, outputs, weights, stride, conv->in_zero_point, first);
        }
        for (uint32_t k = first; k < end; k += part, column += window->dilation_w) {
            add_products(sums, outputs, weights + k, stride, nrw_pixel(window, row, column), part);
        }
        if (end < row_depth) {
            add_padding(sums, outputs, weights + end, stride, conv->in_zero_point,
                        row_depth - end);
        }
    }
}

void nrw_conv_c(const struct nrw_conv_op *conv, const struct nrw_window *window, int32_t x0,
                int32_t x1, uint32_t first_output, uint32_t count, int8_t *out,
                uint32_t out_stride, void *scratch)
{
    const uint32_t depth = (uint32_t)window->kernel_h * window->kernel_w * conv->in_channels;
    const int8_t *const first = conv->weights + (size_t)first_output * depth;

    (void)scratch;
    for (int32_t x = x0; x < x1; x++, out += out_stride) {
        /* Most convolutions are 1x1: one run of products for each output. */
        const int32_t column = x * window->stride_w - window->pad_left;
        const int single = window->kernel_h == 1 && window->kernel_w == 1 && window->rows[0] &&
                           column >= 0 && column < window->in_width;
        const int8_t *const in = single ? nrw_pixel(window, window->rows[0], column) : NULL;
        const int8_t *weights = first;
        struct nrw_taps taps = {0, 0, 0};

        if (!single) {
            taps = nrw_taps_inside(window, x);
        }
        for (uint32_t o = 0; o < count; o += NRW_BLOCK, weights += NRW_BLOCK * depth) {
            const uint32_t left = count - o;
            const uint32_t some = left < NRW_BLOCK ? left : NRW_BLOCK;
            uint32_t sums[NRW_BLOCK];

            nrw_clear_block(sums);
            if (in) {
                add_products(sums, some, weights, depth, in, depth);
            } else {
                add_window(sums, some, conv, window, taps, weights, depth);
            }
            nrw_finish_channels(conv->channels + first_output + o, sums, some,
                                conv->out_zero_point, conv->act_min, conv->act_max, out + o);
        }
    }
}

void nrw_conv_accumulate_c(const struct nrw_conv_op *conv, uint32_t first_input, uint32_t count,
                           const int8_t *in, uint32_t in_stride, uint32_t pixels, int32_t *sums)
{
    for (; pixels > 0; pixels--, in += in_stride, sums += conv->out_channels) {
        add_products((uint32_t *)sums, conv->out_channels, conv->weights + first_input,
                     conv->in_channels, in, count);
    }
}

void nrw_conv_finish_c(const struct nrw_conv_op *conv, const int32_t *sums, uint32_t pixels,
                       int8_t *out, uint32_t out_stride)
{
    for (; pixels > 0; pixels--, sums += conv->out_channels, out += out_stride) {
        nrw_finish_channels(conv->channels, (const uint32_t *)sums, conv->out_channels,
                            conv->out_zero_point, conv->act_min, conv->act_max, out);
    }
}
