/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What convolutions with vectors of 16 elements read: the windows of some pixels, in the order of
 * the weights, one part of at most NRW_PART elements after the other.
 */
#ifndef NARROWS_GATHER_H
#define NARROWS_GATHER_H

#include <string.h>

#include "conv.h"

enum {
    NRW_VECTOR = 16,  /* elements of a vector */
    NRW_PART = 512,
    NRW_OUTPUTS = 64, /* whose sums stand on the stack */
};

/* Where the part that begins at element `at` of `depth` ends: each has 16 elements or more, if
 * there are so many in all. */
static inline uint32_t nrw_part_end(uint32_t at, uint32_t depth)
{
    const uint32_t left = depth - at;

    if (left <= NRW_PART) {
        return depth;
    }
    return left - NRW_PART < NRW_VECTOR ? at + NRW_PART - NRW_VECTOR : at + NRW_PART;
}

/* memcpy, quick for the few bytes of a row of a small window. */
static inline void nrw_copy_few(int8_t *to, const int8_t *from, uint32_t count)
{
    if (count < 8 || count > 16) {
        memcpy(to, from, count);
    } else {
        memcpy(to, from, 8);
        memcpy(to + (count - 8), from + (count - 8), 8);
    }
}

/* Elements [k0, k1) of the window of output column x, as bytes. pitch: elements from one tap to the
 * next, of which those behind the channels are anything. Returns where they stand: in the row
 * itself if they are side by side there, else in `bytes`. */
static inline const int8_t *nrw_gather_part(const struct nrw_conv_op *conv,
                                            const struct nrw_window *window, int32_t x,
                                            uint32_t pitch, uint32_t k0, uint32_t k1,
                                            int8_t bytes[NRW_PART])
{
    const struct nrw_taps taps = nrw_taps_inside(window, x);
    const uint32_t row_depth = window->kernel_w * pitch;
    const int dense = window->dilation_w == 1 && window->pixel_stride == pitch &&
                      conv->in_channels == pitch;
    uint32_t i = k0 < row_depth ? 0 : k0 / row_depth;
    uint32_t at = k0 - i * row_depth; /* in the row */
    int8_t *to = bytes;

    while (k0 < k1) {
        const int8_t *const row = window->rows[i];
        const int32_t j = at < pitch ? 0 : (int32_t)(at / pitch);
        const uint32_t element = at - (uint32_t)j * pitch;
        const int8_t *from = NULL;
        uint32_t end = row_depth;
        uint32_t count;

        if (row && j < taps.first) {
            end = (uint32_t)taps.first * pitch;
        } else if (row && j < taps.end) {
            end = (uint32_t)(dense ? taps.end : j + 1) * pitch;
            from = nrw_pixel(window, row, taps.column + (j - taps.first) * window->dilation_w) +
                   element;
        }
        count = end - at < k1 - k0 ? end - at : k1 - k0;
        if (!from) {
            memset(to, conv->in_zero_point, count);
        } else if (count == k1 - k0 && to == bytes && conv->in_channels == pitch) {
            return from;
        } else if (dense) {
            nrw_copy_few(to, from, count);
        } else {
            const uint32_t there = element < conv->in_channels ? conv->in_channels - element : 0;

            memcpy(to, from, there < count ? there : count);
            memset(to + (there < count ? there : count), 0, there < count ? count - there : 0);
        }
        to += count;
        k0 += count;
        at += count;
        if (at == row_depth) {
            at = 0;
            i++;
        }
    }
    return bytes;
}

/* --- Plain weights --------------------------------------------------------------------------- */

/* What nrw_dots.add is about. */
struct nrw_products {
    const void *in;       /* nrw_dots.in */
    uint32_t count;       /* elements of a pixel */
    size_t stride;        /* from an output's weights to the next one's */
    uint32_t sums_stride; /* from a pixel's sums to the next one's */
    int fresh;            /* whether there are no sums yet to which the products are added */
};

/* How an implementation computes dot products, and its room. */
struct nrw_dots {
    uint32_t pixels;         /* together, at most */
    void *in;                /* their elements, as `add` reads them */
    int8_t (*bytes)[NRW_PART]; /* of each of them */
    int32_t *sums;           /* [pixels][NRW_OUTPUTS] */

    /* A pixel's part to `in`, which may point to the data. */
    void (*place)(void *in, uint32_t pixel, const int8_t *data, uint32_t count);
    /* sums[p * sums_stride + o] += weights[o * stride + k] * in[p][k], summed over k < count. */
    void (*add)(const struct nrw_products *products, int32_t *sums, uint32_t pixels,
                uint32_t outputs, const int8_t *weights);
    /* Finished sums of `count` outputs, of which the first is first_output. */
    void (*finish)(const struct nrw_conv_op *conv, uint32_t first_output, uint32_t count,
                   const int32_t *sums, uint32_t sums_stride, uint32_t pixels, int8_t *out,
                   uint32_t out_stride);
};

/* As nrw_conv_kernel. depth: elements of a window. */
static inline __attribute__((always_inline)) void
nrw_conv_by_dots(const struct nrw_dots *dots, const struct nrw_conv_op *conv,
                 const struct nrw_window *window, uint32_t depth, int32_t x0, int32_t x1,
                 uint32_t first_output, uint32_t count, int8_t *out, uint32_t out_stride)
{
    const int8_t *const weights = conv->weights + (size_t)first_output * depth;
    struct nrw_products products = {dots->in, 0, depth, NRW_OUTPUTS, 1};

    for (uint32_t pixels; x0 < x1; x0 += (int32_t)pixels, out += (size_t)pixels * out_stride) {
        pixels = (uint32_t)(x1 - x0) < dots->pixels ? (uint32_t)(x1 - x0) : dots->pixels;
        for (uint32_t o = 0; o < count; o += NRW_OUTPUTS) {
            const uint32_t outputs = count - o < NRW_OUTPUTS ? count - o : NRW_OUTPUTS;

            for (uint32_t k = 0, end; k < depth; k = end) {
                end = nrw_part_end(k, depth);
                for (uint32_t p = 0; p < pixels && (o == 0 || depth > NRW_PART); p++) {
                    dots->place(dots->in, p,
                                nrw_gather_part(conv, window, x0 + (int32_t)p, conv->in_channels, k,
                                                end, dots->bytes[p]),
                                end - k);
                }
                products.count = end - k;
                products.fresh = k == 0;
                dots->add(&products, dots->sums, pixels, outputs, weights + o * (size_t)depth + k);
            }
            dots->finish(conv, first_output + o, outputs, dots->sums, NRW_OUTPUTS, pixels, out + o,
                         out_stride);
        }
    }
}

/* As nrw_conv_accumulate_kernel; of dots it needs `in`, and neither bytes nor sums. */
static inline __attribute__((always_inline)) void
nrw_accumulate_by_dots(const struct nrw_dots *dots, const struct nrw_conv_op *conv,
                       uint32_t first_input, uint32_t count, const int8_t *in, uint32_t in_stride,
                       uint32_t pixels, int32_t *sums)
{
    const int8_t *const weights = conv->weights + first_input;
    struct nrw_products products = {dots->in, 0, conv->in_channels, conv->out_channels, 0};

    for (uint32_t some; pixels > 0; pixels -= some) {
        some = pixels < dots->pixels ? pixels : dots->pixels;
        for (uint32_t k = 0, end; k < count; k = end) {
            end = nrw_part_end(k, count);
            for (uint32_t p = 0; p < some; p++) {
                dots->place(dots->in, p, in + (size_t)p * in_stride + k, end - k);
            }
            products.count = end - k;
            dots->add(&products, sums, some, conv->out_channels, weights + k);
        }
        in += (size_t)some * in_stride;
        sums += (size_t)some * conv->out_channels;
    }
}

#endif
