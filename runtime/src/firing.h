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
 * absorbs come before row 0. */
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

struct nrw_firing nrw_firing_of(const struct nrw_model *model, const struct nrw_stage *stage,
                                uint32_t number);

/* The rows of RESIZE and RESHAPE are no windows: they come out as all. */
void nrw_windows_of(struct nrw_windows *windows, const struct nrw_model *model,
                    const struct nrw_stage *stage, uint32_t input);

/* Rows and columns of an input that a firing needs. */
struct nrw_area nrw_area_of(const struct nrw_model *model, const struct nrw_stage *stage,
                            uint32_t input, const struct nrw_firing *firing);

/* Pixels of an input that a firing needs. */
struct nrw_range nrw_needs(const struct nrw_model *model, const struct nrw_stage *stage,
                           uint32_t input, const struct nrw_firing *firing);

/* BOTTLENECK: input rows that a firing expands, all of its windows' or, if it is rolling, those
 * that are not kept. */
struct nrw_range nrw_expands(const struct nrw_model *model, const struct nrw_stage *stage,
                             const struct nrw_firing *firing);

/* Rolling BOTTLENECK: the rows that it absorbs before it gives one. */
int32_t nrw_absorbed(const struct nrw_model *model, const struct nrw_stage *stage);

#endif
