/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The definition of NRW_LAYOUT_PAIRED: each weight is found where layouts.h says that it stands.
 * Rows are read in place, so the scratch is for other implementations.
 */
#include "conv_by_taps.h"
#include "layouts.h"

static inline void add_tap(uint32_t *sums, const struct nrw_conv_op *conv, uint32_t first_output,
                           uint32_t outputs, uint32_t taps, uint32_t tap, uint32_t first_input,
                           uint32_t count, const int8_t *in)
{
    const uint32_t elements = taps * conv->in_channels;
    const uint32_t first = tap * conv->in_channels + first_input;

    for (uint32_t o = 0; o < outputs; o++) {
        uint32_t sum = sums[o];

        for (uint32_t k = 0; k < count; k++) {
            const size_t at = nrw_paired_at(first_output + o, first + k, elements);
            const int32_t weight = nrw_paired_weight(at, conv->weights[at]);

            sum += (uint32_t)(weight * (in ? in[k] : conv->in_zero_point));
        }
        sums[o] = sum;
    }
}

void nrw_conv_paired_c(const struct nrw_conv_op *conv, const struct nrw_window *window, int32_t x0,
                       int32_t x1, uint32_t first_output, uint32_t count, int8_t *out,
                       uint32_t out_stride, void *scratch)
{
    (void)scratch;
    nrw_conv_by_taps(add_tap, conv, window, x0, x1, first_output, count, out, out_stride);
}

void nrw_conv_accumulate_paired_c(const struct nrw_conv_op *conv, uint32_t first_input,
                                  uint32_t count, const int8_t *in, uint32_t in_stride,
                                  uint32_t pixels, int32_t *sums)
{
    nrw_conv_accumulate_by_taps(add_tap, conv, first_input, count, in, in_stride, pixels, sums);
}
