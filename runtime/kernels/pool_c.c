/* SPDX-License-Identifier: Apache-2.0 */
#include "pool.h"

/* Channels averaged together; their sums stand on the stack. */
enum { BLOCK = 16 };

/* sums[k] += the inside elements of one row, channels c to c + count. */
static void add_row(int32_t *sums, const struct nrw_window *window, const int8_t *row,
                    struct nrw_taps taps, uint32_t c, uint32_t count)
{
    const int8_t *in;

    if (!row || taps.first == taps.end) {
        return;
    }
    in = nrw_pixel(window, row, taps.column) + c;
    for (int32_t j = taps.first; j < taps.end; j++, in += window->pixel_stride) {
        for (uint32_t k = 0; k < count; k++) {
            sums[k] = nrw_wrapping_add(sums[k], in[k]);
        }
    }
}

/* sum / count to nearest, halves away from zero. */
static int32_t divide(int32_t sum, uint32_t count)
{
    const uint32_t magnitude = sum < 0 ? 0u - (uint32_t)sum : (uint32_t)sum;
    const uint32_t quotient = (magnitude + count / 2) / count;

    return (int32_t)(sum < 0 ? 0u - quotient : quotient);
}

static void finish(const struct nrw_average_op *op, const int32_t *sums, uint32_t elements,
                   uint32_t count, int8_t *out)
{
    for (uint32_t k = 0; k < count; k++) {
        int32_t value;

        if (op->requantize) {
            value = nrw_requantize(nrw_wrapping_add(sums[k], op->mean.bias), op->mean.multiplier,
                                   op->mean.shift);
            value = nrw_wrapping_add(value, op->out_zero_point);
        } else {
            value = divide(sums[k], elements);
        }
        out[k] = (int8_t)nrw_clamp(value, op->act_min, op->act_max);
    }
}

void nrw_average_c(const struct nrw_average_op *op, const struct nrw_window *window, int32_t x0,
                   int32_t x1, int8_t *out, uint32_t out_stride)
{
    uint32_t rows = 0;

    for (uint32_t i = 0; i < window->kernel_h; i++) {
        rows += window->rows[i] != NULL;
    }
    for (int32_t x = x0; x < x1; x++, out += out_stride) {
        const struct nrw_taps taps = nrw_taps_inside(window, x);
        const uint32_t elements = rows * (uint32_t)(taps.end - taps.first);

        for (uint32_t c = 0; c < op->channels; c += BLOCK) {
            const uint32_t left = op->channels - c;
            const uint32_t count = left < BLOCK ? left : BLOCK;
            int32_t sums[BLOCK] = {0};

            for (uint32_t i = 0; i < window->kernel_h; i++) {
                add_row(sums, window, window->rows[i], taps, c, count);
            }
            finish(op, sums, elements, count, out + c);
        }
    }
}

void nrw_sum_c(uint32_t channels, const struct nrw_window *window, int32_t x0, int32_t x1,
               int32_t *sums)
{
    for (int32_t x = x0; x < x1; x++, sums += channels) {
        const struct nrw_taps taps = nrw_taps_inside(window, x);

        for (uint32_t i = 0; i < window->kernel_h; i++) {
            add_row(sums, window, window->rows[i], taps, 0, channels);
        }
    }
}

void nrw_average_finish_c(const struct nrw_average_op *op, const struct nrw_window *window,
                          uint32_t rows, int32_t x0, int32_t x1, const int32_t *sums, int8_t *out,
                          uint32_t out_stride)
{
    for (int32_t x = x0; x < x1; x++, sums += op->channels, out += out_stride) {
        const struct nrw_taps taps = nrw_taps_inside(window, x);

        finish(op, sums, rows * (uint32_t)(taps.end - taps.first), op->channels, out);
    }
}

void nrw_max_pool_c(uint32_t channels, int32_t act_min, int32_t act_max,
                    const struct nrw_window *window, int32_t x0, int32_t x1, int8_t *out,
                    uint32_t out_stride)
{
    for (int32_t x = x0; x < x1; x++, out += out_stride) {
        const struct nrw_taps taps = nrw_taps_inside(window, x);

        for (uint32_t c = 0; c < channels; c++) {
            out[c] = (int8_t)act_min;
        }
        for (uint32_t i = 0; i < window->kernel_h; i++) {
            const int8_t *const row = window->rows[i];

            for (int32_t j = taps.first; row && j < taps.end; j++) {
                const int8_t *const in = nrw_pixel(window, row, taps.column + j - taps.first);

                for (uint32_t c = 0; c < channels; c++) {
                    out[c] = in[c] > out[c] ? in[c] : out[c];
                }
            }
        }
        for (uint32_t c = 0; c < channels; c++) {
            out[c] = out[c] < act_max ? out[c] : (int8_t)act_max;
        }
    }
}
