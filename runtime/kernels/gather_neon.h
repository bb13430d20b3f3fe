/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What convolutions for 64-bit Arm share: sums that become outputs.
 */
#ifndef NARROWS_GATHER_NEON_H
#define NARROWS_GATHER_NEON_H

#include "gather.h"
#include "neon.h"

/* Computed together, so that weights are loaded once for all. */
enum { NRW_PIXELS = 4 };

/* Finished sums [pixels][sums_stride] of `count` outputs, of which the first is first_output. */
static inline void nrw_finish_pixels_neon(const struct nrw_conv_op *conv, uint32_t first_output,
                                          uint32_t count, const int32_t *sums,
                                          uint32_t sums_stride, uint32_t pixels, int8_t *out,
                                          uint32_t out_stride)
{
    const struct nrw_channel *const lines = conv->channels + first_output;
    const struct nrw_range_neon range =
        nrw_range_of_neon(conv->out_zero_point, conv->act_min, conv->act_max);
    uint32_t o = 0;

    for (; count - o >= NRW_LANES; o += NRW_LANES) {
        const struct nrw_channels_neon channels = nrw_channels_of_neon(lines + o);

        for (uint32_t p = 0; p < pixels; p++) {
            const int32_t *const from = sums + (size_t)p * sums_stride + o;
            const struct nrw_lanes_neon lanes = {vld1q_s32(from), vld1q_s32(from + 4)};

            nrw_finish_neon(out + (size_t)p * out_stride + o, lanes, &channels, &range);
        }
    }
    for (uint32_t p = 0; p < pixels && o < count; p++) {
        nrw_finish_channels(lines + o, (const uint32_t *)sums + (size_t)p * sums_stride + o,
                            count - o, conv->out_zero_point, conv->act_min, conv->act_max,
                            out + (size_t)p * out_stride + o);
    }
}

#endif
