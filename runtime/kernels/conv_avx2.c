/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NRW_LAYOUT_PLAIN: the weights of an output stand side by side, and so do the elements of a
 * window once they are gathered. Products of 16 neighbours go into eight lanes, whose sum is taken
 * at the end. Where the number of elements is no multiple of 16, the last vector overlaps with the
 * one before, and the elements that they share are 0 in the last: so nothing is read beyond the
 * weights of an output.
 */
#include "gather_avx2.h"

/* Fewer elements than this are left to the portable kernel. */
enum { LEAST = 8 };

NRW_AVX2_INLINE __m256i load(const int8_t *data)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)data));
}

/* The first eight of fewer than 16 bytes, and the last eight. */
NRW_AVX2_INLINE __m256i load_short(const int8_t *data, uint32_t count)
{
    return _mm256_cvtepi8_epi16(
        _mm_unpacklo_epi64(_mm_loadl_epi64((const void *)data),
                           _mm_loadl_epi64((const void *)(data + (count - LEAST)))));
}

/* `count` bytes, LEAST or more, as vectors that weights of this layout can meet. */
NRW_AVX2_INLINE void widen(__m256i *vectors, const int8_t *data, uint32_t count)
{
    const uint32_t rest = count % NRW_VECTOR;

    if (count < NRW_VECTOR) {
        /* What is among the first eight too is 0 in the second. */
        const __m256i shared = _mm256_andnot_si256(nrw_lanes_from(NRW_VECTOR + LEAST - count),
                                                   nrw_lanes_from(LEAST));

        vectors[0] = _mm256_andnot_si256(shared, load_short(data, count));
        return;
    }
    for (const int8_t *const end = data + (count - rest); data < end; data += NRW_VECTOR) {
        *vectors++ = load(data);
    }
    if (rest > 0) {
        *vectors = _mm256_and_si256(load(data - (NRW_VECTOR - rest)),
                                    nrw_lanes_from(NRW_VECTOR - rest));
    }
}

/* The sum of the lanes of each of four vectors. */
NRW_AVX2_INLINE __m128i sums_of_lanes(__m256i a, __m256i b, __m256i c, __m256i d)
{
    const __m256i ab =
        _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    const __m256i cd =
        _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    const __m256i abcd =
        _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));

    return _mm_add_epi32(_mm256_castsi256_si128(abcd), _mm256_extracti128_si256(abcd, 1));
}

/* The products of `pixels` with the weights of eight outputs, of four, or of one: at most eight of
 * them, so that their sums stay in registers. */
NRW_AVX2_INLINE void add_tile(const struct nrw_products *products, int32_t *sums, uint32_t pixels,
                              uint32_t outputs, const int8_t *weights)
{
    const struct nrw_elements *const in = products->in;
    const uint32_t count = products->count;
    const size_t stride = products->stride;
    __m256i added[NRW_PIXELS][8];

    for (uint32_t p = 0; p < pixels; p++) {
        for (uint32_t o = 0; o < 8; o++) {
            added[p][o] = _mm256_setzero_si256();
        }
    }
    for (uint32_t v = 0, k = 0; k < count; v++, k += NRW_VECTOR) {
        const uint32_t at = k + NRW_VECTOR <= count ? k : count - NRW_VECTOR;

        for (uint32_t o = 0; o < outputs; o++) {
            const int8_t *const from = weights + o * stride;
            const __m256i w = count < NRW_VECTOR ? load_short(from, count) : load(from + at);

            for (uint32_t p = 0; p < pixels; p++) {
                added[p][o] =
                    _mm256_add_epi32(added[p][o], _mm256_madd_epi16(w, in->vectors[p][v]));
            }
        }
    }
    for (uint32_t p = 0; p < pixels; p++, sums += products->sums_stride) {
        for (uint32_t o = 0; o < outputs; o += 4) {
            const __m256i *const of = added[p] + o;
            const __m128i four = sums_of_lanes(of[0], of[1], of[2], of[3]);
            __m128i *const to = (void *)(sums + o);

            if (outputs == 1) {
                *sums = nrw_wrapping_add(products->fresh ? 0 : *sums, _mm_cvtsi128_si32(four));
            } else {
                _mm_storeu_si128(to, products->fresh ? four
                                                     : _mm_add_epi32(_mm_loadu_si128(to), four));
            }
        }
    }
}

NRW_AVX2_INLINE void add_outputs(const struct nrw_products *products, int32_t *sums,
                                 uint32_t pixels, uint32_t outputs, const int8_t *weights)
{
    for (; pixels == 1 && outputs >= 8; outputs -= 8, sums += 8, weights += 8 * products->stride) {
        add_tile(products, sums, pixels, 8, weights);
    }
    for (; outputs >= 4; outputs -= 4, sums += 4, weights += 4 * products->stride) {
        add_tile(products, sums, pixels, 4, weights);
    }
    for (; outputs > 0; outputs--, sums++, weights += products->stride) {
        add_tile(products, sums, pixels, 1, weights);
    }
}

NRW_AVX2 static void add_products(const struct nrw_products *products, int32_t *sums,
                                  uint32_t pixels, uint32_t outputs, const int8_t *weights)
{
    if (pixels == 1) {
        add_outputs(products, sums, 1, outputs, weights);
    } else {
        add_outputs(products, sums, 2, outputs, weights);
    }
}

NRW_AVX2 static void place(void *in, uint32_t pixel, const int8_t *data, uint32_t count)
{
    struct nrw_elements *const elements = in;

    widen(elements->vectors[pixel], data, count);
}

NRW_AVX2 static void convolve(const struct nrw_conv_op *conv, const struct nrw_window *window,
                              uint32_t depth, int32_t x0, int32_t x1, uint32_t first_output,
                              uint32_t count, int8_t *out, uint32_t out_stride)
{
    struct nrw_elements in;
    int8_t bytes[NRW_PIXELS][NRW_PART];
    int32_t sums[NRW_PIXELS][NRW_OUTPUTS];
    const struct nrw_dots dots = {NRW_PIXELS, &in, bytes, sums[0], place, add_products,
                                  nrw_finish_pixels};

    nrw_conv_by_dots(&dots, conv, window, depth, x0, x1, first_output, count, out, out_stride);
}

void nrw_conv_avx2(const struct nrw_conv_op *conv, const struct nrw_window *window, int32_t x0,
                   int32_t x1, uint32_t first_output, uint32_t count, int8_t *out,
                   uint32_t out_stride, void *scratch)
{
    const uint32_t depth = (uint32_t)window->kernel_h * window->kernel_w * conv->in_channels;

    if (nrw_has_avx2() && depth >= LEAST) {
        convolve(conv, window, depth, x0, x1, first_output, count, out, out_stride);
    } else {
        nrw_conv_c(conv, window, x0, x1, first_output, count, out, out_stride, scratch);
    }
}

NRW_AVX2 static void accumulate(const struct nrw_conv_op *conv, uint32_t first_input,
                                uint32_t count, const int8_t *in, uint32_t in_stride,
                                uint32_t pixels, int32_t *sums)
{
    struct nrw_elements elements;
    const struct nrw_dots dots = {NRW_PIXELS, &elements, NULL, NULL, place, add_products,
                                  nrw_finish_pixels};

    nrw_accumulate_by_dots(&dots, conv, first_input, count, in, in_stride, pixels, sums);
}

void nrw_conv_accumulate_avx2(const struct nrw_conv_op *conv, uint32_t first_input,
                              uint32_t count, const int8_t *in, uint32_t in_stride,
                              uint32_t pixels, int32_t *sums)
{
    if (nrw_has_avx2() && count >= LEAST) {
        accumulate(conv, first_input, count, in, in_stride, pixels, sums);
    } else {
        nrw_conv_accumulate_c(conv, first_input, count, in, in_stride, pixels, sums);
    }
}

NRW_AVX2 static void finish(const struct nrw_conv_op *conv, const int32_t *sums, uint32_t pixels,
                            int8_t *out, uint32_t out_stride)
{
    nrw_finish_pixels(conv, 0, conv->out_channels, sums, conv->out_channels, pixels, out,
                      out_stride);
}

void nrw_conv_finish_avx2(const struct nrw_conv_op *conv, const int32_t *sums, uint32_t pixels,
                          int8_t *out, uint32_t out_stride)
{
    if (nrw_has_avx2()) {
        finish(conv, sums, pixels, out, out_stride);
    } else {
        nrw_conv_finish_c(conv, sums, pixels, out, out_stride);
    }
}
