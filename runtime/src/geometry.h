/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strips of rows and the windows over them: plain arithmetic on positions, which knows no operator.
 */
#ifndef NARROWS_GEOMETRY_H
#define NARROWS_GEOMETRY_H

#include "format.h"

/* Pixels, rows or columns [lo, hi). */
struct nrw_range {
    int32_t lo, hi;
};

/* What one firing of a stage computes: rows [y0, y1) and columns [x0, x1) of the stage's frame.
 * A rolling stage counts the rows that it absorbs below 0; row y0 of a folded one is input row
 * y0 - pad_top. */
struct nrw_firing {
    int32_t y0, y1, x0, x1;
    uint32_t given; /* pixels of the output that are there when the firing has ended */
    bool is_last;
};

/* Columns of a firing: the stage's strip, or fewer at the end of a row. */
static inline uint32_t nrw_firing_pixels(const struct nrw_firing *firing)
{
    return (uint32_t)(firing->x1 - firing->x0);
}

/* A window along one axis: position i needs [i * stride - pad, i * stride - pad + span) of the
 * input. */
struct nrw_axis {
    int32_t stride, pad, span;
};

/* The rows and columns of an input that a row and a column of the frame need. */
struct nrw_windows {
    struct nrw_axis rows, columns;
};

/* Strips in a row of `width` pixels, the last of which may be shorter. Unsigned, as every quotient
 * of a firing: small cores divide by a function, and so they need only one. */
static inline uint32_t nrw_strips_of(const struct nrw_stage *stage, uint32_t width)
{
    return (width + stage->strip - 1u) / stage->strip;
}

static inline int32_t nrw_clip(int32_t position, int32_t size)
{
    return position < 0 ? 0 : position < size ? position : size;
}

static inline int32_t nrw_lesser(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* The window of an axis of which every position needs all. */
static inline struct nrw_axis nrw_all_of(int32_t size)
{
    const struct nrw_axis all = {0, 0, size};

    return all;
}

/* The first input position that the windows of positions from `first` on need. */
static inline int32_t nrw_window_start(const struct nrw_axis *axis, int32_t first, int32_t size)
{
    return nrw_clip(first * axis->stride - axis->pad, size);
}

/* The end of what the windows of positions below `end` need. */
static inline int32_t nrw_window_end(const struct nrw_axis *axis, int32_t end, int32_t size)
{
    return nrw_clip((end - 1) * axis->stride - axis->pad + axis->span, size);
}

/* The input positions that the windows of positions [first, end) cover. */
static inline struct nrw_range nrw_covered(const struct nrw_axis *axis, int32_t first,
                                           int32_t end, int32_t size)
{
    const struct nrw_range covered = {nrw_window_start(axis, first, size),
                                      nrw_window_end(axis, end, size)};

    return covered;
}

static inline struct nrw_axis nrw_rows_of(const struct nrw_geometry *geometry)
{
    const struct nrw_axis rows = {geometry->stride_h, geometry->pad_top,
                                  (geometry->kernel_h - 1) * geometry->dilation_h + 1};

    return rows;
}

static inline struct nrw_axis nrw_columns_of(const struct nrw_geometry *geometry)
{
    const struct nrw_axis columns = {geometry->stride_w, geometry->pad_left,
                                     (geometry->kernel_w - 1) * geometry->dilation_w + 1};

    return columns;
}

/* The end of the input columns that windows of columns below x need: a rolling stage has gone
 * through all below it. */
static inline int32_t nrw_reached(const struct nrw_axis *axis, int32_t x, int32_t size)
{
    return x == 0 ? 0 : nrw_window_end(axis, x, size);
}

/* The pixels of an input, `width` pixels wide, that `columns` of `rows` need. Rows from `later` on
 * are needed by later firings too, so nothing of these may die. */
static inline struct nrw_range nrw_pixels_of(struct nrw_range rows, struct nrw_range columns,
                                             int32_t later, int32_t width)
{
    struct nrw_range pixels = {rows.lo * width, rows.lo * width};

    if (rows.hi > rows.lo) {
        pixels.hi = (rows.hi - 1) * width + columns.hi;
        pixels.lo = nrw_lesser(nrw_lesser(pixels.lo + columns.lo, later * width), pixels.hi);
    }
    return pixels;
}

/* The pixels of an input that a firing needs through windows. */
static inline struct nrw_range nrw_pixels_seen(const struct nrw_axis rows,
                                               const struct nrw_axis columns,
                                               const struct nrw_tensor *in,
                                               const struct nrw_firing *firing)
{
    return nrw_pixels_of(nrw_covered(&rows, firing->y0, firing->y1, in->height),
                         nrw_covered(&columns, firing->x0, firing->x1, in->width),
                         nrw_window_start(&rows, firing->y1, in->height), in->width);
}

/* Whether each position of an output sees one of its input, the same. */
static inline bool nrw_is_pointwise(const struct nrw_geometry *geometry)
{
    return geometry->kernel_h == 1 && geometry->kernel_w == 1 && geometry->stride_h == 1 &&
           geometry->stride_w == 1 && geometry->pad_top == 0 && geometry->pad_left == 0;
}

#endif
