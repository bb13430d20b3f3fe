/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The usual cases of requantization in fewer instructions: channels with a prescale, and shifts
 * below -1, which nearly all channels have. The result is that of requant.h, bit for bit.
 */
#ifndef NARROWS_KERNELS_REQUANT_FAST_H
#define NARROWS_KERNELS_REQUANT_FAST_H

#include "../src/requant.h"

/* nrw_requantize; `right` is -1 - shift, 1 to 30. Both roundings in one:
 * floor((high + sign + 2^right) / 2^(right + 1)), with the sum before the division in 64 bits. The
 * sign is that of x instead of high's; they differ where high is 0, and the result is 0 with
 * either. It is within 2^30. */
static inline int32_t nrw_requantize_right(int32_t x, int32_t multiplier, int32_t right)
{
    const uint32_t high = ((UINT32_C(1) << right) >> 1) + (uint32_t)(x >> 31);
    const uint32_t low = (UINT32_C(1) << 30) | ((uint32_t)x & (UINT32_C(1) << 31));
    const int64_t rounding = (int64_t)((uint64_t)high << 32 | low);

    return (int32_t)(((int64_t)x * multiplier + rounding) >> 32) >> right;
}

/* x, or 0 if that is positive; without a branch. */
static inline int32_t nrw_negative_part(int32_t x)
{
    return x & (x >> 31);
}

/* nrw_finish of a sum with its bias. The clamp has no branch: `above` is how far the value is above
 * act_max, 0 or less once it is limited to that. */
static inline int8_t nrw_finish_right(int32_t acc, int32_t multiplier, int32_t right,
                                      int32_t zero_point, int32_t act_min, int32_t act_max)
{
    const int32_t value = nrw_requantize_right(acc, multiplier, right);
    const int32_t above = nrw_negative_part(value - (act_max - zero_point));

    return (int8_t)(act_min - nrw_negative_part(act_min - act_max - above));
}

/* A channel with a prescale. Its sums are multiplied by that first, which leaves both roundings to
 * one addition to the product's upper word (finish_dsp.h says why). The second rounding of a
 * negative number takes halves down, which is one less in the units of the first. */
struct nrw_prescaled {
    int32_t bias, multiplier;
    uint32_t scale;    /* 4 times the prescale */
    int32_t rounding;  /* both halves, and the zero point */
    int32_t downwards; /* what a negative number gets less */
};

/* rounding: nrw_finish_word */
static inline struct nrw_prescaled nrw_prescaled_of(const struct nrw_channel *channel,
                                                    int32_t rounding)
{
    const int32_t prescale = channel->prescale, downwards = rounding & 1;
    const struct nrw_prescaled prescaled = {
        channel->bias, channel->multiplier, 4u * (uint32_t)prescale,
        rounding - downwards + prescale, downwards * 2 * prescale};

    return prescaled;
}

/* A sum without its bias to an output that is not clamped. */
static inline int32_t nrw_requantize_prescaled(const struct nrw_prescaled *channel, uint32_t sum)
{
    const int32_t scaled = (int32_t)(((uint32_t)channel->bias + sum) * channel->scale);
    const int32_t high = (int32_t)((int64_t)scaled * channel->multiplier >> 32);

    return (high + channel->rounding - (channel->downwards & scaled >> 31)) >> NRW_PRESCALED_BITS;
}

/* The same clamped to int8 only. */
static inline int8_t nrw_finish_prescaled(const struct nrw_prescaled *channel, uint32_t sum)
{
    return (int8_t)nrw_clamp(nrw_requantize_prescaled(channel, sum), INT8_MIN, INT8_MAX);
}

#endif
