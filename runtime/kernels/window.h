/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What convolutions and pools read. Kernels compute strips: the pixels [x0, x1) of one row of
 * the output, whose first pixel stands at `out`, each out_stride bytes behind the last.
 */
#ifndef NARROWS_WINDOW_H
#define NARROWS_WINDOW_H

#include <stddef.h>
#include <stdint.h>

/* Tap (i, j) of output column x is pixel x * stride_w - pad_left + j * dilation_w of
 * rows[i]; it is padding if that row is NULL or the column is outside [0, in_width). The
 * rows hold at least the columns inside [0, in_width) that the strip touches. The caller picks
 * the rows, so strides, dilation and padding of the height are its business. */
struct nrw_window {
    const int8_t *const *rows; /* kernel_h pointers to column `origin` */
    int32_t origin;            /* 0 for whole rows; tiles hold only some columns */
    int32_t in_width;          /* pixels of the whole input row, 1 to 65535 */
    uint32_t pixel_stride;     /* bytes from one pixel to the next */
    uint16_t kernel_h;         /* each 1 or more */
    uint16_t kernel_w;
    uint16_t stride_w;
    uint16_t dilation_w;
    int32_t pad_left;          /* 0 to 65535 */
};

/* The part of a window's columns that is inside: taps [first, end), of which the first is
 * input column `column`. If there is none, first = end, and `column` is one that is there. */
struct nrw_taps {
    int32_t first, end, column;
};

/* Taps of a window that begins so many columns before a place, 1 or more, and are before it too. */
static inline int32_t nrw_taps_before(const struct nrw_window *window, int32_t columns)
{
    return (int32_t)(((uint32_t)columns + window->dilation_w - 1u) / window->dilation_w);
}

static inline struct nrw_taps nrw_taps_inside(const struct nrw_window *window, int32_t x)
{
    const int32_t start = x * window->stride_w - window->pad_left;
    const int32_t step = window->dilation_w;
    struct nrw_taps taps = {0, window->kernel_w, start};

    if (start < 0) {
        taps.first = nrw_taps_before(window, -start);
    }
    if (start + (taps.end - 1) * step >= window->in_width) {
        taps.end = start < window->in_width ? nrw_taps_before(window, window->in_width - start) : 0;
    }
    if (taps.first < taps.end) {
        taps.column += taps.first * step;
    } else {
        taps.first = taps.end;
        taps.column = window->origin;
    }
    return taps;
}

/* Address of an input column that is inside, of a row that is not NULL. */
static inline const int8_t *nrw_pixel(const struct nrw_window *window, const int8_t *row,
                                      int32_t column)
{
    return row + (ptrdiff_t)(column - window->origin) * (ptrdiff_t)window->pixel_stride;
}

#endif
