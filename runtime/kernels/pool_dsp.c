/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words of four channels; the last channels, fewer than four, one by one.
 */
#include "dsp.h"
#include "pool.h"

/* sums[0] to sums[3] += the inside elements of one row, from channel c on. */
static void add_four(int32_t *sums, const int8_t *in, size_t step, int32_t taps)
{
    int32_t sum0 = sums[0], sum1 = sums[1], sum2 = sums[2], sum3 = sums[3];

    for (; taps > 0; taps--, in += step) {
        const uint32_t word = nrw_load_word(in);

        sum0 = nrw_add_byte_0(sum0, word);
        sum1 = nrw_add_byte_1(sum1, word);
        sum2 = nrw_add_byte_2(sum2, word);
        sum3 = nrw_add_byte_3(sum3, word);
    }
    sums[0] = sum0;
    sums[1] = sum1;
    sums[2] = sum2;
    sums[3] = sum3;
}

/* sums[k] += the inside elements of one row, channels c to c + count. */
static void add_row(int32_t *sums, const struct nrw_window *window, const int8_t *row,
                    struct nrw_taps taps, uint32_t c, uint32_t count)
{
    const int32_t inside = taps.end - taps.first;
    const int8_t *in;
    uint32_t k = 0;

    if (!row || inside == 0) {
        return;
    }
    in = nrw_pixel(window, row, taps.column) + c;
    for (; k + 4 <= count; k += 4) {
        add_four(sums + k, in + k, window->pixel_stride, inside);
    }
    for (; k < count; k++) {
        const int8_t *element = in + k;

        for (int32_t j = 0; j < inside; j++, element += window->pixel_stride) {
            sums[k] = nrw_wrapping_add(sums[k], *element);
        }
    }
}

NRW_NOINLINE static void finish(const struct nrw_average_op *op, const int32_t *sums,
                                uint32_t elements, uint32_t count, int8_t *out)
{
    /* Outputs are bytes, which might overlap the operator for all that the compiler knows. */
    const struct nrw_average_op average = *op;

    for (uint32_t k = 0; k < count; k++) {
        const int32_t value =
            average.requantize
                ? nrw_requantize_byte(nrw_wrapping_add(sums[k], average.mean.bias), &average.mean,
                                      average.out_zero_point)
                : nrw_divide_sum(sums[k], elements);

        out[k] = (int8_t)nrw_clamp(value, average.act_min, average.act_max);
    }
}

void nrw_average_dsp(const struct nrw_average_op *op, const struct nrw_window *window, int32_t x0,
                     int32_t x1, int8_t *out, uint32_t out_stride)
{
    nrw_average_by_rows(add_row, finish, op, window, x0, x1, out, out_stride);
}

void nrw_sum_dsp(uint32_t channels, const struct nrw_window *window, int32_t x0, int32_t x1,
                 int32_t *sums)
{
    nrw_sum_by_rows(add_row, channels, window, x0, x1, sums);
}

void nrw_average_finish_dsp(const struct nrw_average_op *op, const struct nrw_window *window,
                            uint32_t rows, int32_t x0, int32_t x1, const int32_t *sums,
                            int8_t *out, uint32_t out_stride)
{
    nrw_average_finish_by_rows(finish, op, window, rows, x0, x1, sums, out, out_stride);
}

/* The maxima of channels c to c + 3. */
static uint32_t max_of_four(const struct nrw_window *window, struct nrw_taps taps, uint32_t c)
{
    uint32_t most = 0x80808080u;

    for (uint32_t i = 0; i < window->kernel_h; i++) {
        const int8_t *const row = window->rows[i];

        if (row && taps.first < taps.end) {
            const int8_t *in = nrw_pixel(window, row, taps.column) + c;

            for (int32_t j = taps.first; j < taps.end; j++, in += window->pixel_stride) {
                most = nrw_max_bytes(most, nrw_load_word(in));
            }
        }
    }
    return most;
}

void nrw_max_pool_dsp(uint32_t channels, int32_t act_min, int32_t act_max,
                      const struct nrw_window *window, int32_t x0, int32_t x1, int8_t *out,
                      uint32_t out_stride)
{
    const uint32_t low = (uint32_t)(act_min & 0xFF) * 0x01010101u;
    const uint32_t high = (uint32_t)(act_max & 0xFF) * 0x01010101u;

    if (channels < 4) {
        nrw_max_pool_c(channels, act_min, act_max, window, x0, x1, out, out_stride);
        return;
    }
    for (int32_t x = x0; x < x1; x++, out += out_stride) {
        const struct nrw_taps taps = nrw_taps_inside(window, x);

        for (uint32_t c = 0; c < channels; c += 4) {
            /* Some of the last four may be computed again. */
            const uint32_t from = c + 4 <= channels ? c : channels - 4;
            const uint32_t most = max_of_four(window, taps, from);

            nrw_store_word(out + from, nrw_min_bytes(nrw_max_bytes(most, low), high));
        }
    }
}
