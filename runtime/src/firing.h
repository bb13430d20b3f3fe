/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each firing of a stage needs and gives (SPEC.md, Firing).
 */
#ifndef NARROWS_FIRING_H
#define NARROWS_FIRING_H

#include "format.h"

/* [lo, hi): pixels of a tensor, rows, or columns. */
struct nrw_range {
    int32_t lo, hi;
};

/* Rows [y0, y1) and columns [x0, x1) of the stage's frame. The rows that a rolling BOTTLENECK
 * absorbs come before row 0. Row y0 of a ROLLING_DEPTHWISE is input row y0 - pad_top. */
struct nrw_firing {
    int32_t y0, y1, x0, x1;
    uint32_t given; /* pixels of the output that are there when it has ended */
    bool is_last;
};

/* Along an axis, position i needs [i * stride - pad, i * stride - pad + extent) of the input. */
struct nrw_axis {
    int32_t stride, pad, extent;
};

/* Of an input: which of its rows and columns a row and a column of the frame need. */
struct nrw_windows {
    struct nrw_axis rows, columns;
};

/* Rows and columns of an input. */
struct nrw_area {
    struct nrw_range rows, columns;
};

static inline int32_t nrw_clip(int32_t position, int32_t size)
{
    return position < 0 ? 0 : position < size ? position : size;
}

static inline int32_t nrw_lesser(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* Where the windows of positions from `first` on start, and those of positions below `end` end. */
static inline int32_t nrw_window_start(const struct nrw_axis *axis, int32_t first, int32_t size)
{
    return nrw_clip(first * axis->stride - axis->pad, size);
}

static inline int32_t nrw_window_end(const struct nrw_axis *axis, int32_t end, int32_t size)
{
    return nrw_clip((end - 1) * axis->stride - axis->pad + axis->extent, size);
}

/* What the windows of positions [first, end) cover. */
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

/* Columns that the windows of columns below x reach: what a rolling BOTTLENECK has expanded. */
static inline int32_t nrw_reached(const struct nrw_axis *axis, int32_t x, int32_t size)
{
    return x == 0 ? 0 : nrw_window_end(axis, x, size);
}

/* Whether the stage adds its input up, and gives the whole output at the end. */
static inline bool nrw_accumulates(const struct nrw_model *model, const struct nrw_stage *stage)
{
    if (stage->op == NRW_OP_MEAN) {
        const struct nrw_mean_params *mean = nrw_at(model, stage->params);
        return mean->over_height != 0;
    }
    return stage->op == NRW_OP_AVG_POOL && (stage->flags & NRW_ACCUMULATES) != 0;
}

static inline bool nrw_is_rolling(const struct nrw_stage *stage)
{
    return stage->op == NRW_OP_BOTTLENECK && (stage->flags & NRW_ROLLING) != 0;
}

/* The tensor that the firings go through from left to right, row after row: the output, or
 * the input where there is none or it comes at the end. */
static inline const struct nrw_tensor *nrw_frame(const struct nrw_model *model,
                                                 const struct nrw_stage *stage)
{
    const bool is_input = stage->op == NRW_OP_OUTPUT || nrw_accumulates(model, stage);

    return nrw_tensors(model) + (is_input ? stage->inputs[0] : stage->output);
}

/* How often the stage fires. */
uint32_t nrw_firings(const struct nrw_model *model, const struct nrw_stage *stage);

/* Row and first column of a firing that is a run of a row. */
struct nrw_place {
    int32_t row, column;
};

static inline struct nrw_place nrw_place_of(const struct nrw_stage *stage, int32_t width,
                                            uint32_t number)
{
    struct nrw_place place = {(int32_t)number, 0};

    if (stage->run < width) {
        const int32_t pixel = (int32_t)number * stage->run;
        place.row = pixel / width;
        place.column = pixel - place.row * width;
    }
    return place;
}

/* Of a stage that gives its output run by run: all but whether it is the last. */
static inline void nrw_simple_firing_of(struct nrw_firing *firing, const struct nrw_stage *stage,
                                        int32_t width, uint32_t number)
{
    const struct nrw_place place = nrw_place_of(stage, width, number);

    firing->y0 = place.row;
    firing->y1 = place.row + 1;
    firing->x0 = place.column;
    firing->x1 = place.column + stage->run;
    firing->given = (uint32_t)(place.row * width + firing->x1);
}

/* Of any other stage. */
void nrw_peculiar_firing_of(struct nrw_firing *firing, const struct nrw_model *model,
                            const struct nrw_stage *stage, uint32_t number);

static inline void nrw_firing_of(struct nrw_firing *firing, const struct nrw_model *model,
                                 const struct nrw_stage *stage, uint32_t number)
{
    const uint32_t peculiar = 1u << NRW_OP_OUTPUT | 1u << NRW_OP_BOTTLENECK |
                              1u << NRW_OP_AVG_POOL | 1u << NRW_OP_MEAN |
                              1u << NRW_OP_ROLLING_DEPTHWISE;

    if ((peculiar >> stage->op & 1u) != 0) {
        nrw_peculiar_firing_of(firing, model, stage, number);
    } else {
        const struct nrw_tensor *out = nrw_output_of(model, stage);

        nrw_simple_firing_of(firing, stage, out->width, number);
        firing->is_last = firing->given == nrw_pixels(out);
    }
}

/* The rows of RESIZE and RESHAPE are no windows: they come out as all. */
struct nrw_windows nrw_windows_of(const struct nrw_model *model, const struct nrw_stage *stage,
                                  uint32_t input);

/* Rows and columns of an input that a firing needs. */
struct nrw_area nrw_area_of(const struct nrw_model *model, const struct nrw_stage *stage,
                            uint32_t input, const struct nrw_firing *firing);

/* Pixels of an input of so many columns: `columns` of its rows, and of those that rows of the
 * frame from `later` on need too, every one. */
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

/* Whether a firing needs of an input the very pixels, by number, that it gives. */
static inline bool nrw_is_pixelwise(const struct nrw_model *model, const struct nrw_stage *stage,
                                    uint32_t input)
{
    const uint32_t simple = 1u << NRW_OP_ELEMENTWISE | 1u << NRW_OP_SOFTMAX |
                            1u << NRW_OP_LOOKUP | 1u << NRW_OP_CONCAT | 1u << NRW_OP_SLICE;
    const struct nrw_tensor *in = nrw_input_of(model, stage, input);
    const struct nrw_tensor *out = nrw_output_of(model, stage);

    if (stage->op == NRW_OP_CONV) {
        if (!nrw_is_pointwise(nrw_at(model, stage->params))) {
            return false;
        }
    } else if ((simple >> stage->op & 1u) == 0) {
        return false;
    }
    return in->height == out->height && in->width == out->width;
}

/* Of a stage that neither convolves nor is pixelwise. */
struct nrw_range nrw_peculiar_needs(const struct nrw_model *model, const struct nrw_stage *stage,
                                    uint32_t input, const struct nrw_firing *firing);

/* Pixels of an input that firing `number` needs. given: pixels of the output that are there when
 * it has ended. */
static inline struct nrw_range nrw_needs(const struct nrw_model *model,
                                         const struct nrw_stage *stage, uint32_t input,
                                         uint32_t number, uint32_t *given)
{
    struct nrw_firing firing;

    if (nrw_is_pixelwise(model, stage, input)) {
        const int32_t first = (int32_t)number * stage->run;
        const struct nrw_range pixels = {first, first + stage->run};
        *given = (uint32_t)pixels.hi;
        return pixels;
    }
    if (stage->op == NRW_OP_CONV || stage->op == NRW_OP_DEPTHWISE) {
        const struct nrw_geometry *geometry = nrw_at(model, stage->params);
        nrw_simple_firing_of(&firing, stage, nrw_output_of(model, stage)->width, number);
        *given = firing.given;
        return nrw_pixels_seen(nrw_rows_of(geometry), nrw_columns_of(geometry),
                               nrw_input_of(model, stage, 0), &firing);
    }
    nrw_firing_of(&firing, model, stage, number);
    *given = firing.given;
    return nrw_peculiar_needs(model, stage, input, &firing);
}

/* BOTTLENECK: expanded rows that a firing computes, all of its windows' or, if it is rolling, those
 * that are not kept. */
struct nrw_range nrw_expands(const struct nrw_model *model, const struct nrw_stage *stage,
                             const struct nrw_firing *firing);

/* Rolling BOTTLENECK: the rows that it absorbs before it gives one. */
int32_t nrw_absorbed(const struct nrw_model *model, const struct nrw_stage *stage);

#endif
