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

void nrw_depthwise_c(const struct nrw_depthwise_op *op, const struct nrw_window *window,
                     int32_t x0, int32_t x1, int8_t *out, uint32_t out_stride, void *scratch)
{
    const int32_t zero_point = op->out_zero_point;
    const int32_t act_min = op->act_min;
    const int32_t act_max = op->act_max;

    (void)scratch;
    for (int32_t x = x0; x < x1; x++, out += out_stride) {
        const struct nrw_taps taps = nrw_taps_inside(window, x);

        for (uint32_t c = 0; c < op->out_channels; c += BLOCK) {
            const struct nrw_channel *const channels = &op->channels[c];
            const uint32_t left = op->out_channels - c;
            const uint32_t count = left < BLOCK ? left : BLOCK;
            uint32_t sums[BLOCK] = {0};

            add_window(sums, op, window, taps, c, count);
            for (uint32_t k = 0; k < count; k++) {
                out[c + k] = nrw_finish(&channels[k], sums[k], zero_point, act_min, act_max);
            }
        }
    }
}
