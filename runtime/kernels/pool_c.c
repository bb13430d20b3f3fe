/* SPDX-License-Identifier: Apache-2.0 */
#include "pool.h"

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

void nrw_average_c(const struct nrw_average_op *op, const struct nrw_window *window, int32_t x0,
                   int32_t x1, int8_t *out, uint32_t out_stride)
{
    nrw_average_by_rows(add_row, nrw_finish_averages, op, window, x0, x1, out, out_stride);
}

void nrw_sum_c(uint32_t channels, const struct nrw_window *window, int32_t x0, int32_t x1,
               int32_t *sums)
{
    nrw_sum_by_rows(add_row, channels, window, x0, x1, sums);
}

void nrw_average_finish_c(const struct nrw_average_op *op, const struct nrw_window *window,
                          uint32_t rows, int32_t x0, int32_t x1, const int32_t *sums,
                          int8_t *out, uint32_t out_stride)
{
    nrw_average_finish_by_rows(nrw_finish_averages, op, window, rows, x0, x1, sums, out,
                               out_stride);
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
