/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools and sums with Helium: sums of four channels at a time, maxima of 16.
 */
#include <arm_mve.h>

#include "pool.h"

enum { MAXIMA = 16 };

/* As nrw_add_row, of one channel or more. */
static void add_row(int32_t *sums, const struct nrw_window *window, const int8_t *row,
                    struct nrw_taps taps, uint32_t c, uint32_t count)
{
    const int8_t *in;

    if (!row || taps.first == taps.end) {
        return;
    }
    in = nrw_pixel(window, row, taps.column) + c;
    for (int32_t j = taps.first; j < taps.end; j++, in += window->pixel_stride) {
        int32_t *sum = sums;
        const int8_t *element = in;

        __asm__ volatile("dlstp.32 lr, %2\n"
                         "1:\n"
                         "vldrw.u32 q0, [%0]\n"
                         "vldrb.s32 q1, [%1], #4\n"
                         "vadd.i32 q0, q0, q1\n"
                         "vstrw.32 q0, [%0], #16\n"
                         "letp lr, 1b\n"
                         : "+r"(sum), "+l"(element)
                         : "r"(count)
                         : "lr", "q0", "q1", "memory");
    }
}

void nrw_average_mve(const struct nrw_average_op *op, const struct nrw_window *window, int32_t x0,
                     int32_t x1, int8_t *out, uint32_t out_stride)
{
    nrw_average_by_rows(add_row, nrw_finish_averages, op, window, x0, x1, out, out_stride);
}

void nrw_sum_mve(uint32_t channels, const struct nrw_window *window, int32_t x0, int32_t x1,
                 int32_t *sums)
{
    nrw_sum_by_rows(add_row, channels, window, x0, x1, sums);
}

void nrw_average_finish_mve(const struct nrw_average_op *op, const struct nrw_window *window,
                            uint32_t rows, int32_t x0, int32_t x1, const int32_t *sums,
                            int8_t *out, uint32_t out_stride)
{
    nrw_average_finish_c(op, window, rows, x0, x1, sums, out, out_stride);
}

void nrw_max_pool_mve(uint32_t channels, int32_t act_min, int32_t act_max,
                      const struct nrw_window *window, int32_t x0, int32_t x1, int8_t *out,
                      uint32_t out_stride)
{
    for (int32_t x = x0; x < x1; x++, out += out_stride) {
        const struct nrw_taps taps = nrw_taps_inside(window, x);

        for (uint32_t c = 0; c < channels; c += MAXIMA) {
            const mve_pred16_t some = vctp8q(channels - c);
            int8x16_t most = vdupq_n_s8((int8_t)act_min);

            for (uint32_t i = 0; i < window->kernel_h; i++) {
                const int8_t *const row = window->rows[i];
                const int8_t *in = row ? nrw_pixel(window, row, taps.column) + c : NULL;

                for (int32_t j = taps.first; row && j < taps.end; j++) {
                    most = vmaxq_s8(most, vldrbq_z_s8(in, some));
                    in += window->pixel_stride;
                }
            }
            vstrbq_p_s8(out + c, vminq_s8(most, vdupq_n_s8((int8_t)act_max)), some);
        }
    }
}
