/* SPDX-License-Identifier: Apache-2.0 */
#include "conv.h"

/* Output channels computed together, so that an input element is read once for all. */
enum { TILE = 4 };

/* Padding is read from a block of zero points, this many at a time. */
enum { PADDING = 32 };

/* sums[t] += weights[t * stride + k] * in[k], summed over k < count. */
static void add_products(uint32_t sums[TILE], const int8_t *weights, uint32_t stride,
                         const int8_t *in, uint32_t count)
{
    const int8_t *const w0 = weights;
    const int8_t *const w1 = w0 + stride;
    const int8_t *const w2 = w1 + stride;
    const int8_t *const w3 = w2 + stride;
    uint32_t s0 = 0;
    uint32_t s1 = 0;
    uint32_t s2 = 0;
    uint32_t s3 = 0;

    for (uint32_t k = 0; k < count; k++) {
        const int32_t value = in[k];

        s0 += (uint32_t)(w0[k] * value);
        s1 += (uint32_t)(w1[k] * value);
        s2 += (uint32_t)(w2[k] * value);
        s3 += (uint32_t)(w3[k] * value);
    }
    sums[0] += s0;
    sums[1] += s1;
    sums[2] += s2;
    sums[3] += s3;
}

/* The same for padding: every input element is the zero point. */
static void add_padding(uint32_t sums[TILE], const int8_t *weights, uint32_t stride,
                        int32_t zero_point, uint32_t count)
{
    int8_t padding[PADDING];

    for (uint32_t k = 0; k < PADDING; k++) {
        padding[k] = (int8_t)zero_point;
    }
    while (count > 0) {
        const uint32_t part = count < PADDING ? count : PADDING;

        add_products(sums, weights, stride, padding, part);
        weights += part;
        count -= part;
    }
}

/* Adds a whole window; weights are those of the tile's first output channel. */
static void add_window(uint32_t sums[TILE], const struct nrw_conv_op *conv,
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
            add_padding(sums, weights, stride, conv->in_zero_point, first);
        }
        for (uint32_t k = first; k < end; k += part, column += window->dilation_w) {
            add_products(sums, weights + k, stride, nrw_pixel(window, row, column), part);
        }
        if (end < row_depth) {
            add_padding(sums, weights + end, stride, conv->in_zero_point, row_depth - end);
        }
    }
}

void nrw_conv_c(const struct nrw_conv_op *conv, const struct nrw_window *window, int32_t x0,
                int32_t x1, int8_t *out, uint32_t out_stride, void *scratch)
{
    const uint32_t depth = (uint32_t)window->kernel_h * window->kernel_w * conv->in_channels;
    const int32_t zero_point = conv->out_zero_point;
    const int32_t act_min = conv->act_min;
    const int32_t act_max = conv->act_max;

    (void)scratch;
    for (int32_t x = x0; x < x1; x++, out += out_stride) {
        /* Most convolutions are 1x1: one run of products per tile. */
        const int32_t column = x * window->stride_w - window->pad_left;
        const int single = window->kernel_h == 1 && window->kernel_w == 1 && window->rows[0] &&
                           column >= 0 && column < window->in_width;
        const int8_t *const in = single ? nrw_pixel(window, window->rows[0], column) : NULL;
        const int8_t *weights = conv->weights;
        struct nrw_taps taps = {0, 0, 0};
        uint32_t count;

        if (!single) {
            taps = nrw_taps_inside(window, x);
        }
        for (uint32_t o = 0; o < conv->out_channels; o += count, weights += count * depth) {
            /* The last ones go alone: the tile then reads the same weights four times. */
            const int tiled = conv->out_channels - o >= TILE;
            const uint32_t stride = tiled ? depth : 0;
            uint32_t sums[TILE] = {0, 0, 0, 0};

            count = tiled ? TILE : 1;
            if (in) {
                add_products(sums, weights, stride, in, depth);
            } else {
                add_window(sums, conv, window, taps, weights, stride);
            }
            for (uint32_t t = 0; t < count; t++) {
                out[o + t] = nrw_finish(&conv->channels[o + t], sums[t], zero_point, act_min,
                                        act_max);
            }
        }
    }
}

void nrw_conv_accumulate_c(const int8_t *weights, uint32_t weight_stride, const int8_t *in,
                           uint32_t in_stride, uint32_t depth, uint32_t pixels,
                           uint32_t out_channels, int32_t *sums)
{
    for (; pixels > 0; pixels--, in += in_stride, sums += out_channels) {
        const int8_t *row = weights;
        uint32_t count;

        for (uint32_t o = 0; o < out_channels; o += count, row += count * weight_stride) {
            const int tiled = out_channels - o >= TILE;
            uint32_t tile[TILE] = {0, 0, 0, 0};

            count = tiled ? TILE : 1;
            add_products(tile, row, tiled ? weight_stride : 0, in, depth);
            for (uint32_t t = 0; t < count; t++) {
                sums[o + t] = (int32_t)((uint32_t)sums[o + t] + tile[t]);
            }
        }
    }
}

void nrw_conv_finish_c(const struct nrw_conv_op *conv, const int32_t *sums, uint32_t pixels,
                       int8_t *out, uint32_t out_stride)
{
    const int32_t zero_point = conv->out_zero_point;
    const int32_t act_min = conv->act_min;
    const int32_t act_max = conv->act_max;

    for (; pixels > 0; pixels--, sums += conv->out_channels, out += out_stride) {
        for (uint32_t o = 0; o < conv->out_channels; o++) {
            out[o] = nrw_finish(&conv->channels[o], (uint32_t)sums[o], zero_point, act_min,
                                act_max);
        }
    }
}
