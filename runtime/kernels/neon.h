/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernels for 64-bit Arm share: requantization of eight channels at a time, in two vectors
 * of four, which is the arithmetic of requant.h and as exact; and dot products. All processors have
 * the former's instructions; who calls nrw_dot_neon must know that this one has the latter's.
 */
#ifndef NARROWS_KERNELS_NEON_H
#define NARROWS_KERNELS_NEON_H

#include <arm_neon.h>

#include "../src/requant.h"
#include "lanes.h"

/* Part of its callers, so that loops of as many rounds as a caller's constant says go away. */
#define NRW_NEON_INLINE static inline __attribute__((always_inline))

/* Whether the processor has dot products of bytes. */
#ifdef __ARM_FEATURE_DOTPROD
#define nrw_has_dot() 1
#else
int nrw_has_dot(void);
#endif

/* Functions with dot products; compilers need no option for them. */
#if defined(__ARM_FEATURE_DOTPROD)
#define NRW_DOT
#elif defined(__clang__)
#define NRW_DOT __attribute__((target("dotprod")))
#else
#define NRW_DOT __attribute__((target("arch=armv8.2-a+dotprod")))
#endif
#define NRW_DOT_INLINE NRW_DOT NRW_NEON_INLINE

/* Adds to each lane four products. */
NRW_DOT_INLINE int32x4_t nrw_dot_neon(int32x4_t sums, int8x16_t a, int8x16_t b)
{
#if defined(__clang__) && !defined(__ARM_FEATURE_DOTPROD)
    /* Older ones have the intrinsic function only where all code may use it. */
    __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(sums) : "w"(a), "w"(b));
    return sums;
#else
    return vdotq_s32(sums, a, b);
#endif
}

/* nrw_wrapping_add; a sum of signed vectors is not sure to wrap. */
NRW_NEON_INLINE int32x4_t nrw_add_neon(int32x4_t a, int32x4_t b)
{
    return vreinterpretq_s32_u32(vaddq_u32(vreinterpretq_u32_s32(a), vreinterpretq_u32_s32(b)));
}

/* NRW_LANES lanes. */
struct nrw_lanes_neon {
    int32x4_t low, high;
};

/* The clamp and the zero point that outputs of an operator have in common. */
struct nrw_range_neon {
    int32x4_t zero_point, act_min, act_max;
};

NRW_NEON_INLINE struct nrw_range_neon nrw_range_of_neon(int32_t zero_point, int32_t act_min,
                                                        int32_t act_max)
{
    const struct nrw_range_neon range = {vdupq_n_s32(zero_point), vdupq_n_s32(act_min),
                                         vdupq_n_s32(act_max)};

    return range;
}

/* How four lanes are scaled: the multiplier, and the shift's parts to the left and to the right,
 * the latter negative or 0. */
struct nrw_scale_neon {
    int32x4_t multiplier, left, right;
};

NRW_NEON_INLINE struct nrw_scale_neon nrw_scale_of_neon(int32x4_t multiplier, int32x4_t shift)
{
    const int32x4_t zero = vdupq_n_s32(0);
    const struct nrw_scale_neon scale = {multiplier, vmaxq_s32(shift, zero),
                                         vminq_s32(shift, zero)};

    return scale;
}

/* nrw_requantize. */
NRW_NEON_INLINE int32x4_t nrw_requantize_neon(int32x4_t x, const struct nrw_scale_neon *scale)
{
    /* Saturates for two factors of -2^31 only; multipliers are not negative. */
    const int32x4_t high = vqrdmulhq_s32(vshlq_s32(x, scale->left), scale->multiplier);
    /* One less where it is negative and there is a shift to the right: halves go away from 0. */
    const int32x4_t lowered = vsraq_n_s32(high, vandq_s32(high, scale->right), 31);

    return vrshlq_s32(lowered, scale->right);
}

/* Requantized values to NRW_LANES bytes. */
NRW_NEON_INLINE void nrw_store_neon(int8_t *out, struct nrw_lanes_neon values,
                                    const struct nrw_range_neon *range)
{
    const int32x4_t low = nrw_add_neon(values.low, range->zero_point);
    const int32x4_t high = nrw_add_neon(values.high, range->zero_point);
    const int16x8_t both =
        vcombine_s16(vmovn_s32(vminq_s32(vmaxq_s32(low, range->act_min), range->act_max)),
                     vmovn_s32(vminq_s32(vmaxq_s32(high, range->act_min), range->act_max)));

    vst1_s8(out, vmovn_s16(both));
}

/* From biases, multipliers and the words whose lowest bytes are the shifts. */
NRW_NEON_INLINE struct nrw_scale_neon nrw_scale_of_words_neon(int32x4x3_t words)
{
    return nrw_scale_of_neon(words.val[1], vshrq_n_s32(vshlq_n_s32(words.val[2], 24), 24));
}

/* NRW_LANES lines of a channel table, in lanes. */
struct nrw_channels_neon {
    struct nrw_lanes_neon bias;
    struct nrw_scale_neon low, high;
};

NRW_NEON_INLINE struct nrw_channels_neon nrw_channels_of_neon(const struct nrw_channel *channels)
{
    const int32x4x3_t low = vld3q_s32(&channels[0].bias);
    const int32x4x3_t high = vld3q_s32(&channels[4].bias);
    const struct nrw_channels_neon lanes = {{low.val[0], high.val[0]},
                                            nrw_scale_of_words_neon(low),
                                            nrw_scale_of_words_neon(high)};

    return lanes;
}

/* Finished sums without their biases to outputs. */
NRW_NEON_INLINE void nrw_finish_neon(int8_t *out, struct nrw_lanes_neon sums,
                                     const struct nrw_channels_neon *channels,
                                     const struct nrw_range_neon *range)
{
    const struct nrw_lanes_neon values = {
        nrw_requantize_neon(nrw_add_neon(sums.low, channels->bias.low), &channels->low),
        nrw_requantize_neon(nrw_add_neon(sums.high, channels->bias.high), &channels->high)};

    nrw_store_neon(out, values, range);
}

#endif
