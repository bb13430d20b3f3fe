/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NRW_LAYOUT_PLAIN: the weights of an output stand side by side, and so do the elements of a
 * window once they are gathered. Dot products of 16 neighbours go into four lanes, whose sum is
 * taken at the end. Where the number of elements is no multiple of 16, the last vector overlaps
 * with the one before, and the elements that they share are 0 in the last: so nothing is read
 * beyond the weights of an output.
 */
#include "gather_neon.h"

/* Fewer elements than this are left to the portable kernel. */
enum { LEAST = 8 };

/* A part of the windows of some pixels: whole vectors, and the last, if there is a rest. */
struct elements {
    const int8_t *whole[NRW_PIXELS];
    int8x16_t last[NRW_PIXELS];
};

/* The first eight of fewer than 16 bytes, and the last eight. */
NRW_NEON_INLINE int8x16_t load_short(const int8_t *data, uint32_t count)
{
    return vcombine_s8(vld1_s8(data), vld1_s8(data + (count - LEAST)));
}

/* All ones in the lanes of a vector from `first` on. */
NRW_NEON_INLINE uint8x16_t lanes_from(uint32_t first)
{
    static const uint8_t lanes[NRW_VECTOR] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

    return vcgeq_u8(vld1q_u8(lanes), vdupq_n_u8((uint8_t)first));
}

/* `count` bytes, LEAST or more, of a pixel as vectors that weights of this layout can meet. */
static void place(void *to, uint32_t pixel, const int8_t *data, uint32_t count)
{
    struct elements *const in = to;
    const uint32_t rest = count % NRW_VECTOR;
    int8x16_t last = vdupq_n_s8(0);

    if (count < NRW_VECTOR) {
        /* What is among the first eight too is 0 in the second. */
        const uint8x16_t own = vornq_u8(lanes_from(NRW_VECTOR + LEAST - count), lanes_from(LEAST));

        last = vandq_s8(load_short(data, count), vreinterpretq_s8_u8(own));
    } else if (rest > 0) {
        last = vandq_s8(vld1q_s8(data + (count - NRW_VECTOR)),
                        vreinterpretq_s8_u8(lanes_from(NRW_VECTOR - rest)));
    }
    in->whole[pixel] = data;
    in->last[pixel] = last;
}

/* The products of `pixels` with the weights of four outputs, or of one: their sums stay in
 * registers. */
NRW_DOT_INLINE void add_tile(const struct nrw_products *products, int32_t *sums, uint32_t pixels,
                             uint32_t outputs, const int8_t *weights)
{
    const struct elements *const in = products->in;
    const uint32_t count = products->count;
    const size_t stride = products->stride;
    int32x4_t added[NRW_PIXELS][4];
    uint32_t k = 0;

    for (uint32_t p = 0; p < pixels; p++) {
        for (uint32_t o = 0; o < 4; o++) {
            added[p][o] = vdupq_n_s32(0);
        }
    }
    for (; k + NRW_VECTOR <= count; k += NRW_VECTOR) {
        int8x16_t x[NRW_PIXELS];

        for (uint32_t p = 0; p < pixels; p++) {
            x[p] = vld1q_s8(in->whole[p] + k);
        }
        for (uint32_t o = 0; o < outputs; o++) {
            const int8x16_t w = vld1q_s8(weights + o * stride + k);

            for (uint32_t p = 0; p < pixels; p++) {
                added[p][o] = nrw_dot_neon(added[p][o], w, x[p]);
            }
        }
    }
    for (uint32_t o = 0; k < count && o < outputs; o++) {
        const int8_t *const from = weights + o * stride;
        const int8x16_t w =
            count < NRW_VECTOR ? load_short(from, count) : vld1q_s8(from + (count - NRW_VECTOR));

        for (uint32_t p = 0; p < pixels; p++) {
            added[p][o] = nrw_dot_neon(added[p][o], w, in->last[p]);
        }
    }
    for (uint32_t p = 0; p < pixels; p++, sums += products->sums_stride) {
        if (outputs == 1) {
            *sums = nrw_wrapping_add(products->fresh ? 0 : *sums, vaddvq_s32(added[p][0]));
        } else {
            const int32x4_t four = vpaddq_s32(vpaddq_s32(added[p][0], added[p][1]),
                                              vpaddq_s32(added[p][2], added[p][3]));

            vst1q_s32(sums, products->fresh ? four : nrw_add_neon(vld1q_s32(sums), four));
        }
    }
}

NRW_DOT_INLINE void add_outputs(const struct nrw_products *products, int32_t *sums, uint32_t pixels,
                                uint32_t outputs, const int8_t *weights)
{
    for (; outputs >= 4; outputs -= 4, sums += 4, weights += 4 * products->stride) {
        add_tile(products, sums, pixels, 4, weights);
    }
    for (; outputs > 0; outputs--, sums++, weights += products->stride) {
        add_tile(products, sums, pixels, 1, weights);
    }
}

NRW_DOT static void add_products(const struct nrw_products *products, int32_t *sums,
                                 uint32_t pixels, uint32_t outputs, const int8_t *weights)
{
    if (pixels == 1) {
        add_outputs(products, sums, 1, outputs, weights);
    } else if (pixels == 2) {
        add_outputs(products, sums, 2, outputs, weights);
    } else if (pixels == 3) {
        add_outputs(products, sums, 3, outputs, weights);
    } else {
        add_outputs(products, sums, NRW_PIXELS, outputs, weights);
    }
}

static void convolve(const struct nrw_conv_op *conv, const struct nrw_window *window,
                     uint32_t depth, int32_t x0, int32_t x1, uint32_t first_output,
                     uint32_t count, int8_t *out, uint32_t out_stride)
{
    struct elements in;
    int8_t bytes[NRW_PIXELS][NRW_PART];
    int32_t sums[NRW_PIXELS][NRW_OUTPUTS];
    const struct nrw_dots dots = {NRW_PIXELS, &in, bytes, sums[0], place, add_products,
                                  nrw_finish_pixels_neon};

    nrw_conv_by_dots(&dots, conv, window, depth, x0, x1, first_output, count, out, out_stride);
}

void nrw_conv_neon(const struct nrw_conv_op *conv, const struct nrw_window *window, int32_t x0,
                   int32_t x1, uint32_t first_output, uint32_t count, int8_t *out,
                   uint32_t out_stride, void *scratch)
{
    const uint32_t depth = (uint32_t)window->kernel_h * window->kernel_w * conv->in_channels;

    if (nrw_has_dot() && depth >= LEAST) {
        convolve(conv, window, depth, x0, x1, first_output, count, out, out_stride);
    } else {
        nrw_conv_c(conv, window, x0, x1, first_output, count, out, out_stride, scratch);
    }
}

static void accumulate(const struct nrw_conv_op *conv, uint32_t first_input, uint32_t count,
                       const int8_t *in, uint32_t in_stride, uint32_t pixels, int32_t *sums)
{
    struct elements elements;
    const struct nrw_dots dots = {NRW_PIXELS, &elements, NULL, NULL, place, add_products,
                                  nrw_finish_pixels_neon};

    nrw_accumulate_by_dots(&dots, conv, first_input, count, in, in_stride, pixels, sums);
}

void nrw_conv_accumulate_neon(const struct nrw_conv_op *conv, uint32_t first_input,
                              uint32_t count, const int8_t *in, uint32_t in_stride,
                              uint32_t pixels, int32_t *sums)
{
    if (nrw_has_dot() && count >= LEAST) {
        accumulate(conv, first_input, count, in, in_stride, pixels, sums);
    } else {
        nrw_conv_accumulate_c(conv, first_input, count, in, in_stride, pixels, sums);
    }
}

void nrw_conv_finish_neon(const struct nrw_conv_op *conv, const int32_t *sums, uint32_t pixels,
                          int8_t *out, uint32_t out_stride)
{
    nrw_finish_pixels_neon(conv, 0, conv->out_channels, sums, conv->out_channels, pixels, out,
                           out_stride);
}
