/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Widening of int8 to pairs of int16, which SMLAD multiplies: element e of a pixel's window stands
 * in half e % 2 of its pair e / 2. Of two pixels, pairs with the same number stand side by side.
 */
#ifndef NARROWS_KERNELS_WIDEN_DSP_H
#define NARROWS_KERNELS_WIDEN_DSP_H

#include "conv.h"

/* Where a pixel's next element goes. */
struct nrw_widened {
    uint32_t *pair;
    uint32_t step;   /* words from a pair to the pixel's next one */
    uint32_t is_odd; /* it is the pair's second element, and the first one is there */
    int32_t sum;     /* of the elements so far */
};

/* Appends elements. If they end within a pair, its second element is 0 until another one comes. */
void nrw_widen(struct nrw_widened *to, const int8_t *in, uint32_t count);

/* The windows of the pixels of a strip, of one pixel or two at a time. */
struct nrw_dsp_windows {
    const struct nrw_window *window;
    uint32_t depth;     /* elements of a tap */
    uint32_t row_depth; /* of a row of taps */
    uint32_t is_dense;  /* a row's taps that are inside stand side by side */
    int32_t zero_point;
    int32_t x;          /* of the first pixel that is widened now */
    uint32_t pixels;
    uint32_t row, at;   /* the next element: its row of taps, and its number there */
};

static inline void nrw_dsp_windows_of(struct nrw_dsp_windows *windows,
                                      const struct nrw_conv_op *conv,
                                      const struct nrw_window *window)
{
    windows->window = window;
    windows->depth = conv->in_channels;
    windows->row_depth = window->kernel_w * conv->in_channels;
    windows->is_dense = window->kernel_w == 1 || (window->dilation_w == 1 &&
                                                  window->pixel_stride == conv->in_channels);
    windows->zero_point = conv->in_zero_point;
}

/* Begins the windows of the columns [x, x + pixels), 1 or 2 of them. */
static inline void nrw_windows_at(struct nrw_dsp_windows *windows, int32_t x, uint32_t pixels)
{
    windows->x = x;
    windows->pixels = pixels;
    windows->row = 0;
    windows->at = 0;
}

/* Widens the next `count` elements of each, an even number unless these are the last ones, to pairs
 * [(count + 1) / 2][pixels]. sums: of each pixel's elements. */
void nrw_widen_windows(struct nrw_dsp_windows *windows, uint32_t count, uint32_t *pairs,
                       int32_t *sums);

/* --- Two pixels whose windows lie inside the rows --------------------------------------------- */

/* What the assembly reads and moves on; the order and places of the fields are known there. */
struct nrw_two_rows {
    int16_t *next;            /* 0: where the first pixel's next element goes */
    const int8_t *const *row; /* 4: the next one */
    int32_t sums[2];          /* 8, 12: of each pixel's elements so far */
    const int8_t *const *end; /* 16 */
    ptrdiff_t offset;         /* 20: of the first pixel's elements in a row */
    uint32_t length;          /* 24: elements of a row, 1 or more */
    uint32_t apart;           /* 28: bytes to the second pixel's */
    int32_t zero_point;
};

/* Whether no column of the windows of x and x + 1 is padding, and none is left out. */
static inline int nrw_are_inside(const struct nrw_dsp_windows *windows, int32_t x)
{
    const struct nrw_window *const window = windows->window;
    const int32_t start = x * window->stride_w - window->pad_left;

    return windows->is_dense && start >= 0 &&
           start + window->stride_w + window->kernel_w <= window->in_width;
}

/* Rows of the windows of x and x + 1, of which none is to be widened yet. */
void nrw_two_rows_of(struct nrw_two_rows *rows, const struct nrw_dsp_windows *windows, int32_t x);

/* Widens whole windows, to pairs[pairs][2]. */
void nrw_widen_two_rows(struct nrw_two_rows *rows, const struct nrw_dsp_windows *windows,
                        uint32_t *pairs);

#endif
