/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NRW_LAYOUT_BLOCKED: four weights of each of four outputs are a vector, which meets four elements
 * of a window, repeated. Two lanes have the sum of an output.
 */
#include "gather_avx2.h"
#include "layouts.h"

/* sums[o] of four outputs, of pixels and blocks of outputs. */
NRW_AVX2_INLINE void add_tile(int32_t *sums, uint32_t pixels, uint32_t blocks,
                              const int8_t *weights, size_t block_bytes,
                              const struct nrw_elements *in, uint32_t count)
{
    __m256i added[NRW_PIXELS][2];

    for (uint32_t p = 0; p < pixels; p++) {
        for (uint32_t b = 0; b < blocks; b++) {
            added[p][b] = _mm256_setzero_si256();
        }
    }
    for (uint32_t k = 0; k < count; k += NRW_LAYOUT_BLOCK, weights += NRW_VECTOR) {
        __m256i w[2];

        for (uint32_t b = 0; b < blocks; b++) {
            w[b] = _mm256_cvtepi8_epi16(
                _mm_loadu_si128((const void *)(weights + b * block_bytes)));
        }
        for (uint32_t p = 0; p < pixels; p++) {
            const int16_t *const elements = (const void *)in->vectors[p];
            const __m256i x =
                _mm256_broadcastq_epi64(_mm_loadl_epi64((const void *)(elements + k)));

            for (uint32_t b = 0; b < blocks; b++) {
                added[p][b] = _mm256_add_epi32(added[p][b], _mm256_madd_epi16(w[b], x));
            }
        }
    }
    for (uint32_t p = 0; p < pixels; p++, sums += NRW_OUTPUTS) {
        for (uint32_t b = 0; b < blocks; b++) {
            __m128i *const four = (void *)(sums + NRW_LAYOUT_BLOCK * b);
            const __m128i low = _mm256_castsi256_si128(added[p][b]);
            const __m128i high = _mm256_extracti128_si256(added[p][b], 1);

            _mm_storeu_si128(four, _mm_add_epi32(_mm_loadu_si128(four), _mm_hadd_epi32(low, high)));
        }
    }
}

NRW_AVX2_INLINE void add_blocks(int32_t *sums, uint32_t pixels, uint32_t blocks,
                                const int8_t *weights, size_t block_bytes,
                                const struct nrw_elements *in, uint32_t count)
{
    for (; blocks > 1; blocks -= 2, sums += 2 * NRW_LAYOUT_BLOCK, weights += 2 * block_bytes) {
        add_tile(sums, pixels, 2, weights, block_bytes, in, count);
    }
    if (blocks > 0) {
        add_tile(sums, pixels, 1, weights, block_bytes, in, count);
    }
}

/* Adds the products of `count` elements, a multiple of four, to the sums of whole blocks of
 * outputs, [pixels][NRW_OUTPUTS]. weights: those of the first element. */
NRW_AVX2 static void add_products(int32_t *sums, uint32_t pixels, uint32_t blocks,
                                  const int8_t *weights, size_t block_bytes,
                                  const struct nrw_elements *in, uint32_t count)
{
    if (pixels == 1) {
        add_blocks(sums, 1, blocks, weights, block_bytes, in, count);
    } else {
        add_blocks(sums, 2, blocks, weights, block_bytes, in, count);
    }
}

/* `count` bytes as vectors, of which zeros fill the last. */
NRW_AVX2_INLINE void widen(__m256i *vectors, const int8_t *data, uint32_t count)
{
    for (; count >= NRW_VECTOR; count -= NRW_VECTOR, data += NRW_VECTOR) {
        *vectors++ = _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)data));
    }
    if (count > 0) {
        int8_t rest[NRW_VECTOR] = {0};

        memcpy(rest, data, count);
        *vectors = _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)rest));
    }
}

NRW_AVX2 static void gather(struct nrw_elements *in, const struct nrw_conv_op *conv,
                            const struct nrw_window *window, int32_t x, uint32_t pixels,
                            uint32_t k0, uint32_t k1)
{
    int8_t bytes[NRW_PART];

    for (uint32_t p = 0; p < pixels; p++) {
        widen(in->vectors[p],
              nrw_gather_part(conv, window, x + (int32_t)p, nrw_whole_blocks(conv->in_channels),
                              k0, k1, bytes),
              k1 - k0);
    }
}

NRW_AVX2 static void convolve(const struct nrw_conv_op *conv, const struct nrw_window *window,
                              int32_t x0, int32_t x1, uint32_t first_output, uint32_t count,
                              int8_t *out, uint32_t out_stride)
{
    const uint32_t depth = (uint32_t)window->kernel_h * window->kernel_w *
                           nrw_whole_blocks(conv->in_channels);
    const size_t block_bytes = (size_t)NRW_LAYOUT_BLOCK * depth;
    const uint32_t before = first_output % NRW_LAYOUT_BLOCK; /* of the first block, not asked for */
    const int8_t *const weights = conv->weights + first_output / NRW_LAYOUT_BLOCK * block_bytes;
    struct nrw_elements in;
    int32_t sums[NRW_PIXELS][NRW_OUTPUTS];

    while (x0 < x1) {
        const uint32_t pixels = x1 - x0 < NRW_PIXELS ? (uint32_t)(x1 - x0) : NRW_PIXELS;
        uint32_t skipped = before;

        for (uint32_t o = 0, some; o < count; o += some, skipped = 0) {
            const uint32_t room = NRW_OUTPUTS - skipped;
            const int8_t *const first =
                weights + (o + before) / NRW_LAYOUT_BLOCK * block_bytes;

            some = count - o < room ? count - o : room;
            memset(sums, 0, sizeof sums);
            for (uint32_t k = 0, end; k < depth; k = end) {
                end = nrw_part_end(k, depth);
                if (o == 0 || depth > NRW_PART) {
                    gather(&in, conv, window, x0, pixels, k, end);
                }
                add_products(sums[0], pixels, nrw_whole_blocks(skipped + some) / NRW_LAYOUT_BLOCK,
                             first + (size_t)NRW_LAYOUT_BLOCK * k, block_bytes, &in, end - k);
            }
            nrw_finish_pixels(conv, first_output + o, some, sums[0] + skipped, NRW_OUTPUTS, pixels,
                              out + o, out_stride);
        }
        x0 += (int32_t)pixels;
        out += (size_t)pixels * out_stride;
    }
}

void nrw_conv_blocked_avx2(const struct nrw_conv_op *conv, const struct nrw_window *window,
                           int32_t x0, int32_t x1, uint32_t first_output, uint32_t count,
                           int8_t *out, uint32_t out_stride, void *scratch)
{
    if (nrw_has_avx2()) {
        convolve(conv, window, x0, x1, first_output, count, out, out_stride);
    } else {
        nrw_conv_blocked_c(conv, window, x0, x1, first_output, count, out, out_stride, scratch);
    }
}

/* first_input: a multiple of four. */
NRW_AVX2 static void accumulate(const struct nrw_conv_op *conv, uint32_t first_input,
                                uint32_t count, const int8_t *in, uint32_t in_stride,
                                uint32_t pixels, int32_t *sums)
{
    const size_t block_bytes =
        (size_t)NRW_LAYOUT_BLOCK * nrw_whole_blocks(conv->in_channels);
    struct nrw_elements elements;
    int32_t added[NRW_OUTPUTS];

    for (uint32_t k = 0, part; k < count; k += part) {
        part = count - k < NRW_PART ? count - k : NRW_PART;
        for (uint32_t pixel = 0; pixel < pixels; pixel++) {
            int32_t *const to = sums + (size_t)pixel * conv->out_channels;

            widen(elements.vectors[0], in + (size_t)pixel * in_stride + k, part);
            for (uint32_t o = 0; o < conv->out_channels; o += NRW_OUTPUTS) {
                const uint32_t left = conv->out_channels - o;
                const uint32_t outputs = left < NRW_OUTPUTS ? left : NRW_OUTPUTS;

                memset(added, 0, sizeof added);
                add_products(added, 1, nrw_whole_blocks(outputs) / NRW_LAYOUT_BLOCK,
                             conv->weights + o / NRW_LAYOUT_BLOCK * block_bytes +
                                 (size_t)NRW_LAYOUT_BLOCK * (first_input + k),
                             block_bytes, &elements, part);
                for (uint32_t n = 0; n < outputs; n++) {
                    to[o + n] = nrw_wrapping_add(to[o + n], added[n]);
                }
            }
        }
    }
}

void nrw_conv_accumulate_blocked_avx2(const struct nrw_conv_op *conv, uint32_t first_input,
                                      uint32_t count, const int8_t *in, uint32_t in_stride,
                                      uint32_t pixels, int32_t *sums)
{
    if (nrw_has_avx2() && first_input % NRW_LAYOUT_BLOCK == 0) {
        accumulate(conv, first_input, count, in, in_stride, pixels, sums);
    } else {
        nrw_conv_accumulate_blocked_c(conv, first_input, count, in, in_stride, pixels, sums);
    }
}
