/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The definition of NRW_LAYOUT_BLOCKED: each weight is found where layouts.h says that it stands.
 */
#include "conv_by_taps.h"
#include "layouts.h"

static inline void add_tap(uint32_t *sums, const struct nrw_conv_op *conv, uint32_t first_output,
                           uint32_t outputs, uint32_t taps, uint32_t tap, uint32_t first_input,
                           uint32_t count, const int8_t *in)
{
    const size_t block_bytes =
        (size_t)NRW_LAYOUT_BLOCK * taps * nrw_whole_blocks(conv->in_channels);

    for (uint32_t o = first_output; o < first_output + outputs; o++, sums++) {
        const int8_t *const weights = conv->weights + o / NRW_LAYOUT_BLOCK * block_bytes +
                                      o % NRW_LAYOUT_BLOCK * NRW_LAYOUT_BLOCK;
        uint32_t sum = *sums;

        for (uint32_t k = 0; k < count; k++) {
            const size_t at = nrw_blocked_at(tap, first_input + k, conv->in_channels);

            sum += (uint32_t)(weights[at] * (in ? in[k] : conv->in_zero_point));
        }
        *sums = sum;
    }
}

void nrw_conv_blocked_c(const struct nrw_conv_op *conv, const struct nrw_window *window, int32_t x0,
                        int32_t x1, uint32_t first_output, uint32_t count, int8_t *out,
                        uint32_t out_stride, void *scratch)
{
    (void)scratch;
    nrw_conv_by_taps(add_tap, conv, window, x0, x1, first_output, count, out, out_stride);
}

void nrw_conv_accumulate_blocked_c(const struct nrw_conv_op *conv, uint32_t first_input,
                                   uint32_t count, const int8_t *in, uint32_t in_stride,
                                   uint32_t pixels, int32_t *sums)
{
    nrw_conv_accumulate_by_taps(add_tap, conv, first_input, count, in, in_stride, pixels, sums);
}
