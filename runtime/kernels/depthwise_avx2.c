/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Eight channels of some pixels at a time. Taps go in pairs: the two elements of a channel stand
 * side by side, and one instruction adds both products. What is left at the end of the channels is
 * computed together with those before, again. Depth multipliers, large windows and fewer channels
 * than that are left to the portable kernels.
 */
#include "avx2.h"
#include "depthwise_places.h"

/* Whether this file's kernels are made for that. */
static int suits(const struct nrw_depthwise_op *op, const struct nrw_window *window,
                    uint32_t count)
{
    return nrw_has_avx2() && op->depth_multiplier == 1 && count >= NRW_LANES &&
           (uint32_t)window->kernel_h * window->kernel_w < NRW_MOST_TAPS;
}

/* The weights of eight channels in pairs, of taps [0, taps). */
NRW_AVX2_INLINE void pair_weights(__m256i *pairs, const int8_t *weights, uint32_t stride,
                                  uint32_t taps)
{
    static const int8_t zeros[NRW_LANES];

    for (; taps > 1; taps -= 2, weights += 2 * (size_t)stride) {
        *pairs++ = nrw_pairs_avx2(weights, weights + stride);
    }
    if (taps > 0) {
        *pairs = nrw_pairs_avx2(weights, zeros);
    }
}

/* Adds the products of channels c to c + 7 of a pixel. padding: NULL if there is none. */
NRW_AVX2_INLINE __m256i add_pairs(__m256i sums, const __m256i *weights, const int8_t *const *taps,
                                  uint32_t pairs, uint32_t c, const int8_t *padding)
{
    for (uint32_t t = 0; t < pairs; t++, taps += 2) {
        const int8_t *const first = padding && !taps[0] ? padding : taps[0] + c;
        const int8_t *const second = padding && !taps[1] ? padding : taps[1] + c;

        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(nrw_pairs_avx2(first, second), weights[t]));
    }
    return sums;
}

NRW_AVX2_INLINE __m256i add_window(__m256i sums, const __m256i *weights,
                                   const struct nrw_places *places, uint32_t pixel, uint32_t c,
                                   const int8_t *padding)
{
    const int8_t *const *const taps = places->taps[pixel];

    if (places->padded) {
        return add_pairs(sums, weights, taps, places->pairs, c, padding);
    }
    /* Without a loop for the usual 3x3 kernel. */
    return places->pairs == 5 ? add_pairs(sums, weights, taps, 5, c, NULL)
                              : add_pairs(sums, weights, taps, places->pairs, c, NULL);
}

NRW_AVX2 static void filter_eight(const struct nrw_eights *eights, uint32_t c)
{
    const struct nrw_depthwise_op *const op = eights->op;
    const uint32_t taps = (uint32_t)eights->window->kernel_h * eights->window->kernel_w;
    const struct nrw_channels_avx2 channels =
        nrw_channels_of_avx2(op->channels + eights->first_channel + c);
    const struct nrw_range_avx2 range =
        nrw_range_of_avx2(op->out_zero_point, op->act_min, op->act_max);
    __m256i weights[NRW_MOST_TAPS / 2];

    pair_weights(weights, op->weights + eights->first_channel + c, op->out_channels, taps);
    for (uint32_t p = 0; p < eights->pixels; p++) {
        const __m256i sums =
            add_window(_mm256_setzero_si256(), weights, &eights->places, p, c, eights->padding);

        nrw_finish_avx2(nrw_eights_out(eights, p, c), sums, &channels, &range);
    }
}

NRW_AVX2 static void filter(struct nrw_eights *eights)
{
    nrw_compute_eights(eights, filter_eight);
}

void nrw_depthwise_avx2(const struct nrw_depthwise_op *op, const struct nrw_window *window,
                        int32_t x0, int32_t x1, uint32_t first_channel, uint32_t count, int8_t *out,
                        uint32_t out_stride, void *scratch)
{
    if (suits(op, window, count)) {
        struct nrw_eights eights = {.op = op, .window = window, .x0 = x0, .x1 = x1,
                                    .first_channel = first_channel, .count = count, .out = out,
                                    .out_stride = out_stride};

        filter(&eights);
    } else {
        nrw_depthwise_c(op, window, x0, x1, first_channel, count, out, out_stride, scratch);
    }
}

/* --- By rows ------------------------------------------------------------------------------ */

/* Eight sums of nrw_folded, whose bits 16 and 17 take two bytes. */
NRW_AVX2_INLINE void store_sums(__m256i sums, int8_t *low, uint32_t channels, uint8_t *highs)
{
    /* In each half: bytes 0 of the four sums, bytes 1, and bits 16 and 17, each at its place. */
    const __m256i bytes = _mm256_shuffle_epi8(
        sums, _mm256_broadcastsi128_si256(
                  _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, -1, -1, -1, -1, -1, -1, -1, -1)));
    const __m256i bits =
        _mm256_sllv_epi32(_mm256_and_si256(_mm256_srli_epi32(sums, 16), _mm256_set1_epi32(3)),
                          _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
    const __m256i twos = _mm256_or_si256(bits, _mm256_srli_si256(bits, 4));
    const __m256i fours = _mm256_or_si256(twos, _mm256_srli_si256(twos, 8));
    const __m128i lows = _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes),
                                            _mm256_extracti128_si256(bytes, 1));

    _mm_storel_epi64((void *)low, lows);
    _mm_storel_epi64((void *)(low + channels), _mm_unpackhi_epi64(lows, lows));
    highs[0] = (uint8_t)_mm256_extract_epi8(fours, 0);
    highs[1] = (uint8_t)_mm256_extract_epi8(fours, 16);
}

NRW_AVX2_INLINE __m256i load_sums(const int8_t *low, uint32_t channels, const uint8_t *highs)
{
    const __m128i lows = _mm_unpacklo_epi8(_mm_loadl_epi64((const void *)low),
                                           _mm_loadl_epi64((const void *)(low + channels)));
    const __m256i bits = _mm256_sllv_epi32(
        _mm256_set1_epi32(highs[0] | highs[1] << 8),
        _mm256_setr_epi32(30, 28, 26, 24, 22, 20, 18, 16));

    /* The second of the two bits is the sign. */
    return _mm256_or_si256(
        _mm256_cvtepu16_epi32(lows),
        _mm256_and_si256(_mm256_srai_epi32(bits, 14), _mm256_set1_epi32(~0xFFFF)));
}

/* Whether eight channels never share their bytes in nrw_folded with others. */
static int folds_by_lanes(const struct nrw_depthwise_op *op, const struct nrw_window *window)
{
    return suits(op, window, op->out_channels) && op->out_channels % NRW_LANES == 0;
}

NRW_AVX2 static void fold_eight(const struct nrw_eights *eights, uint32_t c)
{
    const uint32_t channels = eights->op->out_channels;
    const uint32_t taps = (uint32_t)eights->window->kernel_h * eights->window->kernel_w;
    __m256i weights[NRW_MOST_TAPS / 2];

    pair_weights(weights, eights->op->weights + c, channels, taps);
    for (uint32_t p = 0; p < eights->pixels; p++) {
        const __m256i sums =
            add_window(_mm256_setzero_si256(), weights, &eights->places, p, c, eights->padding);

        store_sums(sums, nrw_eights_row(eights, p, c), channels, nrw_eights_highs(eights, p, c));
    }
}

NRW_AVX2 static void fold(struct nrw_eights *eights)
{
    nrw_compute_eights(eights, fold_eight);
}

NRW_AVX2 static void unfold_eight(const struct nrw_eights *eights, uint32_t c)
{
    const struct nrw_depthwise_op *const op = eights->op;
    const uint32_t channels = op->out_channels;
    const uint32_t taps = eights->window->kernel_w;
    const struct nrw_channels_avx2 lanes = nrw_channels_of_avx2(op->channels + c);
    const struct nrw_range_avx2 range =
        nrw_range_of_avx2(op->out_zero_point, op->act_min, op->act_max);
    __m256i weights[NRW_MOST_TAPS / 2];

    pair_weights(weights, op->weights + (size_t)2 * taps * channels + c, channels, taps);
    for (uint32_t p = 0; p < eights->pixels; p++) {
        const __m256i folded =
            load_sums(nrw_eights_row(eights, p, c), channels, nrw_eights_highs(eights, p, c));
        const __m256i sums =
            add_window(folded, weights, &eights->places, p, c, eights->padding);

        nrw_finish_avx2(nrw_eights_out(eights, p, c), sums, &lanes, &range);
    }
}

NRW_AVX2 static void unfold(struct nrw_eights *eights)
{
    nrw_compute_eights(eights, unfold_eight);
}

void nrw_depthwise_fold_avx2(const struct nrw_depthwise_op *op, const struct nrw_window *window,
                             int32_t x0, int32_t x1, const struct nrw_folded *folded)
{
    if (folds_by_lanes(op, window)) {
        struct nrw_eights eights = {.op = op, .window = window, .x0 = x0, .x1 = x1,
                                    .count = op->out_channels, .folded = folded};

        fold(&eights);
    } else {
        nrw_depthwise_fold_c(op, window, x0, x1, folded);
    }
}

void nrw_depthwise_unfold_avx2(const struct nrw_depthwise_op *op, const struct nrw_window *window,
                               int32_t x0, int32_t x1, const struct nrw_folded *folded, int8_t *out,
                               uint32_t out_stride)
{
    if (folds_by_lanes(op, window)) {
        struct nrw_eights eights = {.op = op, .window = window, .x0 = x0, .x1 = x1,
                                    .count = op->out_channels, .folded = folded, .out = out,
                                    .out_stride = out_stride};

        unfold(&eights);
    } else {
        nrw_depthwise_unfold_c(op, window, x0, x1, folded, out, out_stride);
    }
}
