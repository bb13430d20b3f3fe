/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernels for AVX2 share: requantization of eight channels at a time. It is the arithmetic
 * of requant.h, step by step, and as exact. Compilers need no option for these functions; who calls
 * one must know that the processor has AVX2.
 */
#ifndef NARROWS_KERNELS_AVX2_H
#define NARROWS_KERNELS_AVX2_H

#include <immintrin.h>

#include "../src/requant.h"
#include "lanes.h"

#define NRW_AVX2 __attribute__((target("avx2")))
/* Part of its callers, so that loops of as many rounds as a caller's constant says go away. */
#define NRW_AVX2_INLINE static inline __attribute__((target("avx2"), always_inline))

/* Whether the processor has AVX2, and the operating system lets it be used. */
int nrw_has_avx2(void);

/* The clamp and the zero point that outputs of an operator have in common. */
struct nrw_range_avx2 {
    __m256i zero_point, act_min, act_max;
};

NRW_AVX2_INLINE struct nrw_range_avx2 nrw_range_of_avx2(int32_t zero_point, int32_t act_min,
                                                         int32_t act_max)
{
    const struct nrw_range_avx2 range = {_mm256_set1_epi32(zero_point), _mm256_set1_epi32(act_min),
                                         _mm256_set1_epi32(act_max)};

    return range;
}

/* How lanes are scaled: the multiplier, that of the odd lanes at even places, the shift, and its
 * parts to the left and to the right; the latter is one less, but 0 at the least. */
struct nrw_scale_avx2 {
    __m256i multiplier, odd_multiplier, shift, left, right;
};

NRW_AVX2_INLINE struct nrw_scale_avx2 nrw_scale_of_avx2(__m256i multiplier, __m256i shift)
{
    const __m256i zero = _mm256_setzero_si256();
    const __m256i less_one = _mm256_xor_si256(shift, _mm256_set1_epi32(-1)); /* -shift - 1 */
    const struct nrw_scale_avx2 scale = {multiplier, _mm256_srli_epi64(multiplier, 32), shift,
                                         _mm256_max_epi32(shift, zero),
                                         _mm256_max_epi32(less_one, zero)};

    return scale;
}

/* nrw_requantize. */
NRW_AVX2_INLINE __m256i nrw_requantize_avx2(__m256i x, const struct nrw_scale_avx2 *scale)
{
    const __m256i half = _mm256_set1_epi64x(INT64_C(1) << 30);
    const __m256i shifted = _mm256_sllv_epi32(x, scale->left);
    const __m256i even = _mm256_add_epi64(_mm256_mul_epi32(shifted, scale->multiplier), half);
    const __m256i odd = _mm256_add_epi64(
        _mm256_mul_epi32(_mm256_srli_epi64(shifted, 32), scale->odd_multiplier), half);
    /* Bits 31 to 62 of each. */
    const __m256i high =
        _mm256_blend_epi32(_mm256_srli_epi64(even, 31), _mm256_add_epi64(odd, odd), 0xAA);
    const __m256i lowered = _mm256_add_epi32(high, _mm256_srai_epi32(high, 31));
    const __m256i doubled = _mm256_srav_epi32(lowered, scale->right);
    const __m256i rounded =
        _mm256_srai_epi32(_mm256_sub_epi32(doubled, _mm256_set1_epi32(-1)), 1);

    /* Where the shift is negative. */
    return _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(high),
                                                _mm256_castsi256_ps(rounded),
                                                _mm256_castsi256_ps(scale->shift)));
}

/* Requantized values to NRW_LANES bytes. */
NRW_AVX2_INLINE void nrw_store_avx2(int8_t *out, __m256i values,
                                    const struct nrw_range_avx2 *range)
{
    const __m256i moved = _mm256_add_epi32(values, range->zero_point);
    const __m256i clamped =
        _mm256_min_epi32(_mm256_max_epi32(moved, range->act_min), range->act_max);
    const __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128(clamped),
                                           _mm256_extracti128_si256(clamped, 1));

    _mm_storel_epi64((__m128i *)(void *)out, _mm_packs_epi16(halves, halves));
}

/* The lowest byte of each lane, sign-extended. */
NRW_AVX2_INLINE __m256i nrw_low_bytes_avx2(__m256i words)
{
    return _mm256_srai_epi32(_mm256_slli_epi32(words, 24), 24);
}

/* NRW_LANES lines of a channel table, in lanes. */
struct nrw_channels_avx2 {
    __m256i bias;
    struct nrw_scale_avx2 scale;
};

NRW_AVX2_INLINE struct nrw_channels_avx2 nrw_channels_of_avx2(const struct nrw_channel *channels)
{
    /* Every third of 24 words is a bias: of the first vector words 0, 3 and 6, of the second
     * 1, 4 and 7, of the third 2 and 5. Multipliers and shifts are one and two places behind; the
     * shifts' words have prescales, too. */
    const __m256i *const words = (const void *)channels;
    const __m256i v0 = _mm256_loadu_si256(words);
    const __m256i v1 = _mm256_loadu_si256(words + 1);
    const __m256i v2 = _mm256_loadu_si256(words + 2);
    const __m256i biases = _mm256_blend_epi32(_mm256_blend_epi32(v0, v1, 0x92), v2, 0x24);
    const __m256i multipliers = _mm256_blend_epi32(_mm256_blend_epi32(v0, v1, 0x24), v2, 0x49);
    const __m256i shifts = _mm256_blend_epi32(_mm256_blend_epi32(v0, v1, 0x49), v2, 0x92);
    struct nrw_channels_avx2 lanes;

    lanes.bias = _mm256_permutevar8x32_epi32(biases, _mm256_setr_epi32(0, 3, 6, 1, 4, 7, 2, 5));
    lanes.scale = nrw_scale_of_avx2(
        _mm256_permutevar8x32_epi32(multipliers, _mm256_setr_epi32(1, 4, 7, 2, 5, 0, 3, 6)),
        nrw_low_bytes_avx2(_mm256_permutevar8x32_epi32(
            shifts, _mm256_setr_epi32(2, 5, 0, 3, 6, 1, 4, 7))));
    return lanes;
}

/* Finished sums without their biases to outputs. */
NRW_AVX2_INLINE void nrw_finish_avx2(int8_t *out, __m256i sums,
                                     const struct nrw_channels_avx2 *channels,
                                     const struct nrw_range_avx2 *range)
{
    const __m256i biased = _mm256_add_epi32(sums, channels->bias);

    nrw_store_avx2(out, nrw_requantize_avx2(biased, &channels->scale), range);
}

/* NRW_LANES bytes of two rows, of which those side by side belong to one lane: pairs of int16. */
NRW_AVX2_INLINE __m256i nrw_pairs_avx2(const int8_t *first, const int8_t *second)
{
    const __m128i a = _mm_loadl_epi64((const void *)first);
    const __m128i b = _mm_loadl_epi64((const void *)second);

    return _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b));
}

#endif
