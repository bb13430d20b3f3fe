/* SPDX-License-Identifier: Apache-2.0 */
#include "depthwise.h"

/* Channels and taps computed together: sums stand on the stack, and are loaded and stored
 * once per group of taps, which is a row of the usual 3x3 kernel. */
enum { BLOCK = 16, GROUP = 3 };

struct group {
    uint32_t taps;
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

/* With a depth multiplier: the input elements that output channels c, c + 1, ... read. */
static void repeat(int8_t *block, const int8_t *pixel, uint32_t c, uint32_t multiplier,
                   uint32_t count)
{
    uint32_t repeats = c % multiplier;

    pixel += c / multiplier;
    for (uint32_t k = 0; k < count; k++) {
        block[k] = *pixel;
        if (++repeats == multiplier) {
            repeats = 0;
            pixel++;
        }
    }
}

/* sums of the channels c to c + count, count <= BLOCK. */
static void add_window(uint32_t *sums, const struct nrw_depthwise_op *op,
                       const struct nrw_window *window, struct nrw_taps taps, uint32_t c,
                       uint32_t count)
{
    static const int8_t zeros[BLOCK];
    const int8_t *weights = op->weights + c;
    int8_t padding[BLOCK];
    int8_t repeated[GROUP][BLOCK];
    struct group group;

    group.taps = 0;
    for (uint32_t k = 0; k < BLOCK; k++) {
        padding[k] = (int8_t)op->in_zero_point;
    }
    for (uint32_t i = 0; i < window->kernel_h; i++) {
        const int8_t *const row = window->rows[i];
        int32_t column = taps.column;

        for (int32_t j = 0; j < window->kernel_w; j++, weights += op->weight_stride) {
            const int8_t *in = padding;

            if (row && j >= taps.first && j < taps.end) {
                in = nrw_pixel(window, row, column);
                column += window->dilation_w;
                if (op->depth_multiplier == 1) {
                    in += c;
                } else {
                    repeat(repeated[group.taps], in, c, op->depth_multiplier, count);
                    in = repeated[group.taps];
                }
            }
            group.weights[group.taps] = weights;
            group.in[group.taps] = in;
            if (++group.taps == GROUP) {
                add_group(sums, &group, count);
                group.taps = 0;
            }
        }
    }
    if (group.taps > 0) {
        for (; group.taps < GROUP; group.taps++) {
            group.weights[group.taps] = zeros;
            group.in[group.taps] = zeros;
        }
        add_group(sums, &group, count);
    }
}

static void finish_block(int8_t *out, const struct nrw_depthwise_op *op, const uint32_t *sums,
                         uint32_t c, uint32_t count)
{
    const struct nrw_channel *const channels = &op->channels[c];
    const int32_t zero_point = op->out_zero_point;
    const int32_t act_min = op->act_min;
    const int32_t act_max = op->act_max;

    for (uint32_t k = 0; k < count; k++) {
        out[k] = nrw_finish(&channels[k], sums[k], zero_point, act_min, act_max);
    }
}

void nrw_depthwise_c(const struct nrw_depthwise_op *op, const struct nrw_window *window,
                     int32_t x0, int32_t x1, int8_t *out, uint32_t out_stride, void *scratch)
{
    (void)scratch;
    for (int32_t x = x0; x < x1; x++, out += out_stride) {
        const struct nrw_taps taps = nrw_taps_inside(window, x);

        for (uint32_t c = 0; c < op->out_channels; c += BLOCK) {
            const uint32_t left = op->out_channels - c;
            const uint32_t count = left < BLOCK ? left : BLOCK;
            uint32_t sums[BLOCK] = {0};

            add_window(sums, op, window, taps, c, count);
            finish_block(out + c, op, sums, c, count);
        }
    }
}

/* --- By rows ------------------------------------------------------------------------------ */

static void store_sums(const uint32_t *sums, int8_t *low, uint32_t channels, uint8_t *highs,
                       uint32_t count)
{
    for (uint32_t k = 0; k < count; k++) {
        low[k] = (int8_t)sums[k];
        low[channels + k] = (int8_t)(sums[k] >> 8);
        const uint32_t before = k % 4 == 0 ? 0 : highs[k / 4];
        highs[k / 4] = (uint8_t)(before | (sums[k] >> 16 & 3u) << k % 4 * 2);
    }
}

static void load_sums(uint32_t *sums, const int8_t *low, uint32_t channels, const uint8_t *highs,
                      uint32_t count)
{
    for (uint32_t k = 0; k < count; k++) {
        const uint32_t high = (uint32_t)highs[k / 4] >> k % 4 * 2 & 3u;
        const uint32_t sum = (uint32_t)(uint8_t)low[k] | (uint32_t)(uint8_t)low[channels + k] << 8 |
                             high << 16;
        sums[k] = (sum ^ 0x20000u) - 0x20000u; /* bit 17 is the sign */
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

        for (uint32_t c = 0; c < channels; c += BLOCK) {
            const uint32_t count = channels - c < BLOCK ? channels - c : BLOCK;
            uint32_t sums[BLOCK] = {0};

            add_window(sums, op, window, taps, c, count);
            store_sums(sums, low + c, channels, highs + c / 4, count);
        }
    }
}

void nrw_depthwise_unfold_c(const struct nrw_depthwise_op *op, const struct nrw_window *window,
                            int32_t x0, int32_t x1, const struct nrw_folded *folded, int8_t *out,
                            uint32_t out_stride)
{
    const uint32_t channels = op->out_channels;

    for (int32_t x = x0; x < x1; x++, out += out_stride) {
        const struct nrw_taps taps = nrw_taps_inside(window, x);
        const int8_t *low = folded->row + 2u * (uint32_t)x * channels;
        const uint8_t *highs = folded->highs + (uint32_t)x * ((channels + 3) / 4);

        for (uint32_t c = 0; c < channels; c += BLOCK) {
            const uint32_t count = channels - c < BLOCK ? channels - c : BLOCK;
            uint32_t sums[BLOCK];

            load_sums(sums, low + c, channels, highs + c / 4, count);
            add_window(sums, op, window, taps, c, count);
            finish_block(out + c, op, sums, c, count);
        }
    }
}
