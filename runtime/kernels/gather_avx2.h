/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What convolutions for AVX2 share: a part of the windows of some pixels as vectors of int16, and
 * sums that become outputs.
 */
#ifndef NARROWS_GATHER_AVX2_H
#define NARROWS_GATHER_AVX2_H

#include "avx2.h"
#include "gather.h"

/* Computed together, so that weights are loaded once for all. */
enum { NRW_PIXELS = 2 };

/* The elements of some pixels, [NRW_PIXELS][NRW_PART]. */
struct nrw_elements {
    __m256i vectors[NRW_PIXELS][NRW_PART / NRW_VECTOR];
};

/* The lanes of a vector from `first` on; the others 0. */
NRW_AVX2_INLINE __m256i nrw_lanes_from(uint32_t first)
{
    const __m256i lanes =
        _mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);

    return _mm256_cmpgt_epi16(lanes, _mm256_set1_epi16((int16_t)((int32_t)first - 1)));
}

/* Finished sums [pixels][sums_stride] of `count` outputs, of which the first is first_output. */
NRW_AVX2_INLINE void nrw_finish_pixels(const struct nrw_conv_op *conv, uint32_t first_output,
                                       uint32_t count, const int32_t *sums, uint32_t sums_stride,
                                       uint32_t pixels, int8_t *out, uint32_t out_stride)
{
    const struct nrw_channel *const lines = conv->channels + first_output;
    const struct nrw_range_avx2 range =
        nrw_range_of_avx2(conv->out_zero_point, conv->act_min, conv->act_max);
    uint32_t o = 0;

    for (; count - o >= NRW_LANES; o += NRW_LANES) {
        const struct nrw_channels_avx2 channels = nrw_channels_of_avx2(lines + o);

        for (uint32_t p = 0; p < pixels; p++) {
            nrw_finish_avx2(
                out + (size_t)p * out_stride + o,
                _mm256_loadu_si256((const void *)(sums + (size_t)p * sums_stride + o)), &channels,
                &range);
        }
    }
    for (uint32_t p = 0; p < pixels && o < count; p++) {
        nrw_finish_channels(lines + o, (const uint32_t *)sums + (size_t)p * sums_stride + o,
                            count - o, conv->out_zero_point, conv->act_min, conv->act_max,
                            out + (size_t)p * out_stride + o);
    }
}

#endif
