/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NRW_LAYOUT_BLOCKED: four weights of each of four outputs are a vector, which meets four elements
 * of a window, repeated. Each lane has the sum of an output.
 */
#include "gather_neon.h"
#include "layouts.h"

/* What add_products is about. */
struct products {
    const int8_t *in[NRW_PIXELS]; /* the elements of each pixel */
    uint32_t count;               /* of them, a multiple of four */
    size_t block_bytes;
};

/* sums[o] of pixels and blocks of four outputs. */
NRW_DOT_INLINE void add_tile(const struct products *products, int32_t *sums, uint32_t pixels,
                             uint32_t blocks, const int8_t *weights)
{
    int32x4_t added[NRW_PIXELS][2];

    for (uint32_t p = 0; p < pixels; p++) {
        for (uint32_t b = 0; b < blocks; b++) {
            added[p][b] = vld1q_s32(sums + (size_t)p * NRW_OUTPUTS + NRW_LAYOUT_BLOCK * b);
        }
    }
    for (uint32_t k = 0; k < products->count; k += NRW_LAYOUT_BLOCK, weights += NRW_VECTOR) {
        int8x16_t w[2];

        for (uint32_t b = 0; b < blocks; b++) {
            w[b] = vld1q_s8(weights + b * products->block_bytes);
        }
        for (uint32_t p = 0; p < pixels; p++) {
            int32_t four;
            int8x16_t x;

            memcpy(&four, products->in[p] + k, sizeof four);
            x = vreinterpretq_s8_s32(vdupq_n_s32(four));
            for (uint32_t b = 0; b < blocks; b++) {
                added[p][b] = nrw_dot_neon(added[p][b], w[b], x);
            }
        }
    }
    for (uint32_t p = 0; p < pixels; p++) {
        for (uint32_t b = 0; b < blocks; b++) {
            vst1q_s32(sums + (size_t)p * NRW_OUTPUTS + NRW_LAYOUT_BLOCK * b, added[p][b]);
        }
    }
}

NRW_DOT_INLINE void add_blocks(const struct products *products, int32_t *sums, uint32_t pixels,
                               uint32_t blocks, const int8_t *weights)
{
    for (; blocks > 1; blocks -= 2, sums += 2 * NRW_LAYOUT_BLOCK) {
        add_tile(products, sums, pixels, 2, weights);
        weights += 2 * products->block_bytes;
    }
    if (blocks > 0) {
        add_tile(products, sums, pixels, 1, weights);
    }
}

/* Adds the products to the sums of whole blocks of outputs, [pixels][NRW_OUTPUTS]. weights: those
 * of the first element. */
NRW_DOT static void add_products(const struct products *products, int32_t *sums, uint32_t pixels,
                                 uint32_t blocks, const int8_t *weights)
{
    if (pixels == 1) {
        add_blocks(products, sums, 1, blocks, weights);
    } else if (pixels == 2) {
        add_blocks(products, sums, 2, blocks, weights);
    } else if (pixels == 3) {
        add_blocks(products, sums, 3, blocks, weights);
    } else {
        add_blocks(products, sums, NRW_PIXELS, blocks, weights);
    }
}

static void convolve(const struct nrw_conv_op *conv, const struct nrw_window *window, int32_t x0,
                     int32_t x1, uint32_t first_output, uint32_t count, int8_t *out,
                     uint32_t out_stride)
{
    const uint32_t pitch = nrw_whole_blocks(conv->in_channels);
    const uint32_t depth = (uint32_t)window->kernel_h * window->kernel_w * pitch;
    const uint32_t before = first_output % NRW_LAYOUT_BLOCK; /* of the first block, not asked for */
    struct products products = {.block_bytes = (size_t)NRW_LAYOUT_BLOCK * depth};
    const int8_t *const weights =
        conv->weights + first_output / NRW_LAYOUT_BLOCK * products.block_bytes;
    int8_t bytes[NRW_PIXELS][NRW_PART];
    int32_t sums[NRW_PIXELS][NRW_OUTPUTS];

    while (x0 < x1) {
        const uint32_t pixels = x1 - x0 < NRW_PIXELS ? (uint32_t)(x1 - x0) : NRW_PIXELS;
        uint32_t skipped = before;

        for (uint32_t o = 0, some; o < count; o += some, skipped = 0) {
            const uint32_t room = NRW_OUTPUTS - skipped;
            const int8_t *const first =
                weights + (o + before) / NRW_LAYOUT_BLOCK * products.block_bytes;

            some = count - o < room ? count - o : room;
            memset(sums, 0, sizeof sums);
            for (uint32_t k = 0, end; k < depth; k = end) {
                end = nrw_part_end(k, depth);
                for (uint32_t p = 0; p < pixels && (o == 0 || depth > NRW_PART); p++) {
                    products.in[p] = nrw_gather_part(conv, window, x0 + (int32_t)p, pitch, k, end,
                                                     bytes[p]);
                }
                products.count = end - k;
                add_products(&products, sums[0], pixels,
                             nrw_whole_blocks(skipped + some) / NRW_LAYOUT_BLOCK,
                             first + (size_t)NRW_LAYOUT_BLOCK * k);
            }
            nrw_finish_pixels_neon(conv, first_output + o, some, sums[0] + skipped, NRW_OUTPUTS,
                                   pixels, out + o, out_stride);
        }
        x0 += (int32_t)pixels;
        out += (size_t)pixels * out_stride;
    }
}

void nrw_conv_blocked_neon(const struct nrw_conv_op *conv, const struct nrw_window *window,
                           int32_t x0, int32_t x1, uint32_t first_output, uint32_t count,
                           int8_t *out, uint32_t out_stride, void *scratch)
{
    if (nrw_has_dot()) {
        convolve(conv, window, x0, x1, first_output, count, out, out_stride);
    } else {
        nrw_conv_blocked_c(conv, window, x0, x1, first_output, count, out, out_stride, scratch);
    }
}

/* The products of one pixel with all outputs, added to its sums. */
static void add_pixel(const struct nrw_conv_op *conv, const struct products *products,
                      const int8_t *weights, int32_t *sums)
{
    int32_t added[NRW_OUTPUTS];

    for (uint32_t o = 0; o < conv->out_channels; o += NRW_OUTPUTS) {
        const uint32_t left = conv->out_channels - o;
        const uint32_t outputs = left < NRW_OUTPUTS ? left : NRW_OUTPUTS;

        memset(added, 0, sizeof added);
        add_products(products, added, 1, nrw_whole_blocks(outputs) / NRW_LAYOUT_BLOCK,
                     weights + o / NRW_LAYOUT_BLOCK * products->block_bytes);
        for (uint32_t n = 0; n < outputs; n++) {
            sums[o + n] = nrw_wrapping_add(sums[o + n], added[n]);
        }
    }
}

/* first_input: a multiple of four. */
static void accumulate(const struct nrw_conv_op *conv, uint32_t first_input, uint32_t count,
                       const int8_t *in, uint32_t in_stride, uint32_t pixels, int32_t *sums)
{
    struct products products = {
        .block_bytes = (size_t)NRW_LAYOUT_BLOCK * nrw_whole_blocks(conv->in_channels)};

    for (uint32_t k = 0, part; k < count; k += part) {
        part = count - k < NRW_PART ? count - k : NRW_PART;
        for (uint32_t pixel = 0; pixel < pixels; pixel++) {
            int8_t bytes[NRW_PART];

            products.in[0] = in + (size_t)pixel * in_stride + k;
            products.count = nrw_whole_blocks(part);
            if (products.count != part) { /* the last input channels: zeros fill their block */
                memcpy(bytes, products.in[0], part);
                memset(bytes + part, 0, products.count - part);
                products.in[0] = bytes;
            }
            add_pixel(conv, &products,
                      conv->weights + (size_t)NRW_LAYOUT_BLOCK * (first_input + k),
                      sums + (size_t)pixel * conv->out_channels);
        }
    }
}

void nrw_conv_accumulate_blocked_neon(const struct nrw_conv_op *conv, uint32_t first_input,
                                      uint32_t count, const int8_t *in, uint32_t in_stride,
                                      uint32_t pixels, int32_t *sums)
{
    if (nrw_has_dot() && first_input % NRW_LAYOUT_BLOCK == 0) {
        accumulate(conv, first_input, count, in, in_stride, pixels, sums);
    } else {
        nrw_conv_accumulate_blocked_c(conv, first_input, count, in, in_stride, pixels, sums);
    }
}
