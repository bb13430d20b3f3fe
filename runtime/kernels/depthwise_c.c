/* SPDX-License-Identifier: Apache-2.0 */
#include "depthwise.h"

/* Taps computed together: sums are loaded and stored once per group of taps, which is a row of the
 * usual 3x3 kernel. */
enum { GROUP = 3 };

struct group {
    const int8_t *weights[GROUP];
    const int8_t *in[GROUP];
};

static void add_group(uint32_t *restrict sums, const struct group *group, uint32_t count)
{
    const int8_t *const w0 = group->weights[0];
    const int8_t *const w1 = group->weights[1];
    const int8_t *const w2 = group->weights[2];
    const int8_t *const x0 = group->in[0];
    const int8_t *const x1 = group->in[1];
    const int8_t *const x2 = group->in[2];

    for (uint32_t k = 0; k < count; k++) {
        sums[k] += (uint32_t)(w0[k] * x0[k] + w1[k] * x1[k] + w2[k] * x2[k]);
    }
}

/* With a depth multiplier: the input elements that output channels c, c + 1, ... read, of which
 * the first is *in. */
static void repeat(int8_t *block, const int8_t *in, uint32_t c, uint32_t multiplier,
                   uint32_t count)
{
    uint32_t repeats = c % multiplier;

    for (uint32_t k = 0; k < count; k++) {
        block[k] = *in;
        if (++repeats == multiplier) {
            repeats = 0;
            in++;
        }
    }
}

/* Adds the window's products to the sums of `count` channels, at most NRW_BLOCK, of which the first
 * reads input channel c / depth_multiplier of the window. weights: those of its first tap. */
static void add_window(uint32_t *sums, const struct nrw_depthwise_op *op,
                       const struct nrw_window *window, struct nrw_taps taps,
                       const int8_t *weights, uint32_t c, uint32_t count)
{
    static const int8_t zeros[NRW_BLOCK];
    const uint32_t multiplier = op->depth_multiplier;
    const uint32_t channel = multiplier == 1 ? c : c / multiplier;
    const size_t step = window->dilation_w * (size_t)window->pixel_stride;
    const int32_t kernel_w = window->kernel_w;
    int8_t padding[NRW_BLOCK];
    int8_t repeated[GROUP][NRW_BLOCK];
    struct group group;
    uint32_t taken = 0; /* taps of the group */

    for (uint32_t k = 0; k < NRW_BLOCK; k++) {
        padding[k] = (int8_t)op->in_zero_point;
    }
    for (uint32_t i = 0; i < window->kernel_h; i++) {
        const int8_t *const row = window->rows[i];
        const int32_t first = row ? taps.first : kernel_w;
        const int8_t *pixel = row ? nrw_pixel(window, row, taps.column) + channel : NULL;

        for (int32_t j = 0; j < kernel_w; j++, weights += op->out_channels) {
            const int8_t *in = padding;

            if (j >= first && j < taps.end) {
                in = pixel;
                pixel += step;
                if (multiplier > 1) {
                    repeat(repeated[taken], in, c, multiplier, count);
                    in = repeated[taken];
                }
            }
            group.weights[taken] = weights;
            group.in[taken] = in;
            if (++taken == GROUP) {
                add_group(sums, &group, count);
                taken = 0;
            }
        }
    }
    if (taken > 0) {
        for (; taken < GROUP; taken++) {
            group.weights[taken] = zeros;
            group.in[taken] = zeros;
        }
        add_group(sums, &group, count);
    }
}

static void finish_block(int8_t *out, const struct nrw_depthwise_op *op, const uint32_t *sums,
                         uint32_t c, uint32_t count)
{
    nrw_finish_channels(op->channels + c, sums, count, op->out_zero_point, op->act_min,
                        op->act_max, out);
}

void nrw_depthwise_c(const struct nrw_depthwise_op *op, const struct nrw_window *window,
                     int32_t x0, int32_t x1, uint32_t first_channel, uint32_t count, int8_t *out,
                     uint32_t out_stride, void *scratch)
{
    (void)scratch;
    for (int32_t x = x0; x < x1; x++, out += out_stride) {
        const struct nrw_taps taps = nrw_taps_inside(window, x);

        for (uint32_t c = 0; c < count; c += NRW_BLOCK) {
            const uint32_t some = count - c < NRW_BLOCK ? count - c : NRW_BLOCK;
            uint32_t sums[NRW_BLOCK];

            nrw_clear_block(sums);
            add_window(sums, op, window, taps, op->weights + first_channel + c, c, some);
            finish_block(out + c, op, sums, first_channel + c, some);
        }
    }
}

/* --- By rows ------------------------------------------------------------------------------ */

/* Bits 16 and 17 of four sums stand in a byte, those of the first lowest. Sums from `count` to the
 * end of a byte are stored and loaded with the others, but mean nothing. */
static void store_sums(const uint32_t *sums, int8_t *low, uint32_t channels, uint8_t *highs,
                       uint32_t count)
{
    int8_t *const middle = low + channels;

    for (uint32_t k = 0; k < count; k++) {
        low[k] = (int8_t)sums[k];
        middle[k] = (int8_t)(sums[k] >> 8);
    }
    for (uint32_t k = 0; k < count; k += 4) {
        highs[k / 4] = (uint8_t)((sums[k] >> 16 & 3u) | (sums[k + 1] >> 16 & 3u) << 2 |
                                 (sums[k + 2] >> 16 & 3u) << 4 | (sums[k + 3] >> 16 & 3u) << 6);
    }
}

/* Of the bits above the 16 of a sum, the lowest two; the second is the sign. */
static inline uint32_t joined(int8_t low, int8_t middle, uint32_t bits)
{
    const uint32_t high = (uint32_t)((int32_t)(bits << 30) >> 14);

    return (uint32_t)(uint8_t)low | (uint32_t)(uint8_t)middle << 8 | high;
}

static void load_sums(uint32_t *sums, const int8_t *low, uint32_t channels, const uint8_t *highs,
                      uint32_t count)
{
    const int8_t *const middle = low + channels;

    for (uint32_t k = 0; k < count; k += 4) {
        const uint32_t bits = highs[k / 4];

        sums[k] = joined(low[k], middle[k], bits);
        sums[k + 1] = joined(low[k + 1], middle[k + 1], bits >> 2);
        sums[k + 2] = joined(low[k + 2], middle[k + 2], bits >> 4);
        sums[k + 3] = joined(low[k + 3], middle[k + 3], bits >> 6);
    }
}

void nrw_depthwise_fold_c(const struct nrw_depthwise_op *op, const struct nrw_window *window,
                          int32_t x0, int32_t x1, const struct nrw_folded *folded)
{
    const uint32_t channels = op->out_channels;

    for (int32_t x = x0; x < x1; x++) {
        const struct nrw_taps taps = nrw_taps_inside(window, x);
        int8_t *low = folded->row + 2u * (uint32_t)x * channels;
        uint8_t *highs = folded->highs + (uint32_t)x * ((channels + 3) / 4);

        for (uint32_t c = 0; c < channels; c += NRW_BLOCK) {
            const uint32_t count = channels - c < NRW_BLOCK ? channels - c : NRW_BLOCK;
            uint32_t sums[NRW_BLOCK];

            nrw_clear_block(sums);
            add_window(sums, op, window, taps, op->weights + c, c, count);
            store_sums(sums, low + c, channels, highs + c / 4, count);
        }
    }
}

void nrw_depthwise_unfold_c(const struct nrw_depthwise_op *op, const struct nrw_window *window,
                            int32_t x0, int32_t x1, const struct nrw_folded *folded, int8_t *out,
                            uint32_t out_stride)
{
    const uint32_t channels = op->out_channels;
    const int8_t *const weights = op->weights + 2u * window->kernel_w * channels;

    for (int32_t x = x0; x < x1; x++, out += out_stride) {
        const struct nrw_taps taps = nrw_taps_inside(window, x);
        const int8_t *low = folded->row + 2u * (uint32_t)x * channels;
        const uint8_t *highs = folded->highs + (uint32_t)x * ((channels + 3) / 4);

        for (uint32_t c = 0; c < channels; c += NRW_BLOCK) {
            const uint32_t count = channels - c < NRW_BLOCK ? channels - c : NRW_BLOCK;
            uint32_t sums[NRW_BLOCK];

            load_sums(sums, low + c, channels, highs + c / 4, count);
            add_window(sums, op, window, taps, weights + c, c, count);
            finish_block(out + c, op, sums, c, count);
        }
    }
}
