/* SPDX-License-Identifier: Apache-2.0 */
#include "depthwise.h"

/* Channels computed together; their sums stand on the stack. */
enum { BLOCK = 16 };

static void fill(int8_t *block, int32_t value)
{
    for (uint32_t k = 0; k < BLOCK; k++) {
        block[k] = (int8_t)value;
    }
}

/* With a depth multiplier: input elements repeated, as output channels first, first + 1, ...
 * read them. */
static void repeat(int8_t *block, const int8_t *pixel, uint32_t first, uint32_t multiplier,
                   uint32_t count)
{
    uint32_t repeats = first % multiplier;

    pixel += first / multiplier;
    for (uint32_t k = 0; k < count; k++) {
        block[k] = *pixel;
        if (++repeats == multiplier) {
            repeats = 0;
            pixel++;
        }
    }
}

static void add_products(uint32_t *sums, const int8_t *weights, const int8_t *in, uint32_t count)
{
    for (uint32_t k = 0; k < count; k++) {
        sums[k] += (uint32_t)(weights[k] * in[k]);
    }
}

void nrw_depthwise_c(const struct nrw_depthwise_op *op, const struct nrw_window *window,
                     int32_t x0, int32_t x1, int8_t *out, uint32_t out_stride, void *scratch)
{
    int8_t padding[BLOCK];
    int8_t repeated[BLOCK];
    uint32_t sums[BLOCK];

    (void)scratch;
    fill(padding, op->in_zero_point);
    for (int32_t x = x0; x < x1; x++, out += out_stride) {
        const struct nrw_taps taps = nrw_taps_inside(window, x);

        for (uint32_t c = 0; c < op->out_channels; c += BLOCK) {
            const struct nrw_channel *const channels = &op->channels[c];
            const uint32_t left = op->out_channels - c;
            const uint32_t count = left < BLOCK ? left : BLOCK;
            const int8_t *weights = op->weights + c;

            for (uint32_t k = 0; k < count; k++) {
                sums[k] = (uint32_t)channels[k].bias;
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
                            repeat(repeated, in, c, op->depth_multiplier, count);
                            in = repeated;
                        }
                    }
                    add_products(sums, weights, in, count);
                }
            }
            for (uint32_t k = 0; k < count; k++) {
                const int32_t value = nrw_requantize((int32_t)sums[k], channels[k].multiplier,
                                                     channels[k].shift);

                out[c + k] = (int8_t)nrw_clamp(nrw_wrapping_add(value, op->out_zero_point),
                                               op->act_min, op->act_max);
            }
        }
    }
}
