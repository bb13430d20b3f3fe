/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 3x3 windows of a ReLU, the usual case, by depthwise_three_fast.h, wherever they are. Others in
 * tiles of neighbouring output pixels whose windows are all inside the input, so that weights are
 * read once for all of them; what is no tile is left to nrw_depthwise_c.
 */
#include <string.h>

#include "depthwise.h"
#include "depthwise_three_fast.h"
#include "finish_fast.h"
#include "noinline.h"

/* Taps computed together: sums are loaded and stored once per group of taps, which is a row of the
 * usual 3x3 kernel. */
enum { GROUP = 3 };

/* Output pixels of a tile, and channels. Narrow rows have not more pixels; more channels would take
 * more of the stack. */
enum { TILE = 3, TILE_CHANNELS = 8 };

typedef uint32_t tile_sums[TILE][TILE_CHANNELS];

/* Taps: weights, and the elements that the first pixel reads. */
struct group {
    const int8_t *weights[GROUP];
    const int8_t *in[GROUP];
};

/* Adds the products of `count` channels to the sums of each pixel, whose elements stand `step`
 * bytes from those of the pixel before. */
static void add_group(tile_sums sums, const struct group *group, uint32_t step, uint32_t count)
{
    const int8_t *w0 = group->weights[0];
    const int8_t *w1 = group->weights[1];
    const int8_t *w2 = group->weights[2];
    const int8_t *x0 = group->in[0];
    const int8_t *x1 = group->in[1];
    const int8_t *x2 = group->in[2];
    uint32_t *sum = sums[0];

    for (const int8_t *const end = x0 + count; x0 < end; x0++, x1++, x2++, sum++) {
        int32_t s0 = (int32_t)sum[0 * TILE_CHANNELS];
        int32_t s1 = (int32_t)sum[1 * TILE_CHANNELS];
        int32_t s2 = (int32_t)sum[2 * TILE_CHANNELS];
        int32_t w = *w0++;

        s0 += w * x0[0];
        s1 += w * x0[step];
        s2 += w * x0[2 * step];
        w = *w1++;
        s0 += w * x1[0];
        s1 += w * x1[step];
        s2 += w * x1[2 * step];
        w = *w2++;
        s0 += w * x2[0];
        s1 += w * x2[step];
        s2 += w * x2[2 * step];
        sum[0 * TILE_CHANNELS] = (uint32_t)s0;
        sum[1 * TILE_CHANNELS] = (uint32_t)s1;
        sum[2 * TILE_CHANNELS] = (uint32_t)s2;
    }
}

/* Adds the products of `count` channels, at most TILE_CHANNELS, to the sums of a tile. c: the
 * first of them, from where the rows point; column: of the first pixel's first tap; weights: those
 * of the first tap. */
static void add_windows(tile_sums sums, const struct nrw_depthwise_op *op,
                        const struct nrw_window *window, int32_t column, const int8_t *weights,
                        uint32_t c, uint32_t count)
{
    static const int8_t zeros[TILE_CHANNELS];
    const uint32_t tap_step = window->dilation_w * window->pixel_stride;
    const uint32_t pixel_step = window->stride_w * window->pixel_stride;
    struct group group;
    uint32_t taken = 0; /* taps of the group */

    for (uint32_t i = 0; i < window->kernel_h; i++) {
        const int8_t *in = nrw_pixel(window, window->rows[i], column) + c;

        for (uint32_t j = 0; j < window->kernel_w; j++, weights += op->out_channels) {
            group.weights[taken] = weights;
            group.in[taken] = in;
            in += tap_step;
            if (++taken == GROUP) {
                add_group(sums, &group, pixel_step, count);
                taken = 0;
            }
        }
    }
    if (taken > 0) {
        for (; taken < GROUP; taken++) {
            group.weights[taken] = zeros;
            group.in[taken] = group.in[0];
        }
        add_group(sums, &group, pixel_step, count);
    }
}

/* Whether the windows of a tile from output pixel x on are inside. */
static int are_inside(const struct nrw_window *window, int32_t x)
{
    const int32_t first = x * window->stride_w - window->pad_left;
    const int32_t last =
        first + (TILE - 1) * window->stride_w + (window->kernel_w - 1) * window->dilation_w;

    if (first < 0 || last >= window->in_width) {
        return 0;
    }
    for (uint32_t i = 0; i < window->kernel_h; i++) {
        if (!window->rows[i]) {
            return 0;
        }
    }
    return 1;
}

NRW_NOINLINE static void compute_tile(const struct nrw_depthwise_op *op,
                                      const struct nrw_window *window, int32_t x,
                                      uint32_t first_channel, uint32_t count, int8_t *out,
                                      uint32_t out_stride)
{
    const struct nrw_limits limits = {op->out_zero_point, op->act_min, op->act_max};
    const int32_t column = x * window->stride_w - window->pad_left;

    for (uint32_t c = 0; c < count; c += TILE_CHANNELS) {
        const struct nrw_channel *const channels = &op->channels[first_channel + c];
        const uint32_t some = count - c < TILE_CHANNELS ? count - c : TILE_CHANNELS;
        tile_sums sums;

        memset(sums, 0, sizeof sums);
        add_windows(sums, op, window, column, op->weights + first_channel + c, c, some);
        for (uint32_t p = 0; p < TILE; p++) {
            nrw_finish_fast(channels, sums[p], some, &limits, out + c + p * out_stride);
        }
    }
}

/* --- 3x3 ------------------------------------------------------------------------------------ */

/* Channels at a time where windows have padding, which is read from so many zero points. */
enum { PADDED_CHANNELS = 32 };

/* Whether channels go through depthwise_three_fast.h. */
static int are_usual(const struct nrw_depthwise_op *op, const struct nrw_window *window)
{
    return op->depth_multiplier == 1 && window->kernel_h == 3 && window->kernel_w == 3 &&
           window->dilation_w == 1 && window->stride_w <= 2 && op->act_min >= op->out_zero_point;
}

/* Whether any of so many columns of windows, the first of which is `column`, is padding. */
static int are_padded(const struct nrw_window *window, int32_t column, int32_t count)
{
    return column < 0 || column + count > window->in_width || !window->rows[0] ||
           !window->rows[1] || !window->rows[2];
}

/* Such columns up to before channel `end`. padding: the end of zero points. */
static void set_columns(struct nrw_three *three, const struct nrw_window *window, int32_t column,
                        int32_t count, uint32_t end, const int8_t *padding)
{
    for (uint32_t i = 0; i < 3; i++) {
        const int8_t *const row = window->rows[i];

        for (int32_t j = 0; j < count; j++) {
            const int is_inside = row && (uint32_t)(column + j) < (uint32_t)window->in_width;

            three->columns[i][j] =
                is_inside ? nrw_pixel(window, row, column + j) + end : padding;
        }
    }
}

/* Finishes a channel that is left, of so many pixels. */
static void finish_left(struct nrw_three *three, const struct nrw_depthwise_op *op,
                        uint32_t pixels)
{
    const struct nrw_channel *const channel = three->channels++;
    int8_t *out = three->out++;

    for (uint32_t p = 0; p < pixels; p++, out += three->out_stride) {
        *out = nrw_finish(channel, (uint32_t)three->last[p] - (uint32_t)channel->bias,
                          op->out_zero_point, op->act_min, op->act_max);
    }
}

/* One pixel or three from x on. */
NRW_NOINLINE static void compute_usual(const struct nrw_depthwise_op *op,
                                       const struct nrw_window *window, int32_t x,
                                       uint32_t pixels, uint32_t first_channel, uint32_t count,
                                       int8_t *out, uint32_t out_stride)
{
    const int32_t column = x * window->stride_w - window->pad_left;
    const int32_t columns = 3 + (int32_t)(pixels - 1) * window->stride_w;
    const int is_padded = are_padded(window, column, columns);
    int8_t padding[PADDED_CHANNELS];
    struct nrw_three three;

    memset(padding, op->in_zero_point, sizeof padding);
    three.weights = op->weights + first_channel;
    three.tap_step = op->out_channels;
    three.channels = three.end = op->channels + first_channel;
    three.out = out;
    three.out_stride = out_stride;
    three.rounding = nrw_finish_word(op->out_zero_point, op->act_min);
    for (uint32_t c = 0, some; c < count; c += some) {
        some = is_padded && count - c > PADDED_CHANNELS ? PADDED_CHANNELS : count - c;
        set_columns(&three, window, column, columns, c + some, padding + (is_padded ? some : 0));
        three.channel = -(int32_t)some;
        three.end += some;
        while (three.channels < three.end) {
            if (pixels == 1) {
                nrw_three_of_one(&three);
            } else if (window->stride_w == 1) {
                nrw_three_by_one(&three);
            } else {
                nrw_three_by_two(&three);
            }
            if (three.channels < three.end) {
                finish_left(&three, op, pixels);
            }
        }
    }
    if (op->act_min > INT8_MIN || op->act_max < INT8_MAX) {
        for (uint32_t p = 0; p < pixels; p++, out += out_stride) {
            for (uint32_t c = 0; c < count; c++) {
                out[c] = (int8_t)nrw_clamp(out[c], op->act_min, op->act_max);
            }
        }
    }
}

/* --- All ------------------------------------------------------------------------------------ */

void nrw_depthwise_fast(const struct nrw_depthwise_op *op, const struct nrw_window *window,
                        int32_t x0, int32_t x1, uint32_t first_channel, uint32_t count,
                        int8_t *out, uint32_t out_stride, void *scratch)
{
    const uint32_t taps = (uint32_t)window->kernel_h * window->kernel_w;
    const int is_usual = are_usual(op, window);
    const int in_tiles = op->depth_multiplier == 1 && taps <= NRW_MOST_PRODUCTS;
    int32_t pixels;

    for (int32_t x = x0; x < x1; x += pixels, out += (uint32_t)pixels * out_stride) {
        if (is_usual) {
            /* The last ones may begin among those before, which are computed again. */
            const int32_t left = x1 - x;
            const int32_t back = x1 - x0 >= NRW_THREE && left < NRW_THREE ? NRW_THREE - left : 0;

            pixels = x1 - x0 >= NRW_THREE ? NRW_THREE - back : 1;
            compute_usual(op, window, x - back, (uint32_t)(pixels + back), first_channel, count,
                          out - (uint32_t)back * out_stride, out_stride);
        } else if (in_tiles && x1 - x >= TILE && are_inside(window, x)) {
            pixels = TILE;
            compute_tile(op, window, x, first_channel, count, out, out_stride);
        } else {
            pixels = 1;
            nrw_depthwise_c(op, window, x, x + 1, first_channel, count, out, out_stride, scratch);
        }
    }
}
