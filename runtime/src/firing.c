/* SPDX-License-Identifier: Apache-2.0 */
#include "firing.h"

#include "../kernels/resize.h"

static const struct nrw_bottleneck_params *bottleneck_params(const struct nrw_model *model,
                                                             const struct nrw_stage *stage)
{
    return nrw_at(model, stage->params);
}

int32_t nrw_absorbed(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_geometry *geometry = &bottleneck_params(model, stage)->depthwise.geometry;

    return nrw_clip(geometry->kernel_h - geometry->stride_h - geometry->pad_top,
                    nrw_input_of(model, stage, 0)->height);
}

uint32_t nrw_firings(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_tensor *frame = nrw_frame(model, stage);
    uint32_t rows = frame->height;

    if (nrw_is_rolling(stage)) {
        rows += (uint32_t)nrw_absorbed(model, stage);
    } else if (stage->op == NRW_OP_BOTTLENECK) {
        const uint32_t row_tile = bottleneck_params(model, stage)->row_tile;
        rows = (rows + row_tile - 1) / row_tile;
    }
    return rows * (frame->width / stage->run);
}

struct nrw_firing nrw_firing_of(const struct nrw_model *model, const struct nrw_stage *stage,
                                uint32_t number)
{
    const struct nrw_tensor *frame = nrw_frame(model, stage);
    struct nrw_firing firing = {(int32_t)number, 0, 0, 0};

    if (stage->run < frame->width) {
        const uint32_t pixel = number * stage->run;
        firing.y0 = (int32_t)(pixel / frame->width);
        firing.x0 = (int32_t)(pixel % frame->width);
    }
    if (nrw_is_rolling(stage)) {
        firing.y0 -= nrw_absorbed(model, stage);
    }
    firing.y1 = firing.y0 + 1;
    firing.x1 = firing.x0 + stage->run;
    if (stage->op == NRW_OP_BOTTLENECK) {
        const int32_t row_tile = bottleneck_params(model, stage)->row_tile;
        if (row_tile > 1) {
            firing.y0 *= row_tile;
            firing.y1 = nrw_lesser(firing.y0 + row_tile, frame->height);
        }
    }
    return firing;
}

bool nrw_is_last(const struct nrw_model *model, const struct nrw_stage *stage,
                 const struct nrw_firing *firing)
{
    const struct nrw_tensor *frame = nrw_frame(model, stage);

    return firing->y1 == frame->height && firing->x1 == frame->width;
}

uint32_t nrw_gives(const struct nrw_model *model, const struct nrw_stage *stage,
                   uint32_t number)
{
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    uint32_t pixels = (number + 1) * stage->run;

    if (nrw_accumulates(model, stage)) {
        return pixels == nrw_pixels(nrw_input_of(model, stage, 0)) ? nrw_pixels(out) : 0;
    }
    if (stage->op == NRW_OP_BOTTLENECK) {
        if (nrw_is_rolling(stage)) {
            const uint32_t absorbed = (uint32_t)nrw_absorbed(model, stage) * out->width;
            return pixels < absorbed ? 0 : pixels - absorbed;
        }
        pixels *= bottleneck_params(model, stage)->row_tile;
        return pixels < nrw_pixels(out) ? pixels : nrw_pixels(out);
    }
    return pixels;
}

void nrw_windows_of(struct nrw_windows *windows, const struct nrw_model *model,
                    const struct nrw_stage *stage, uint32_t input)
{
    static const struct nrw_axis same = {1, 0, 1};
    const struct nrw_tensor *in = nrw_input_of(model, stage, input);
    const void *params = nrw_at(model, stage->params);
    struct nrw_axis *rows = &windows->rows;
    struct nrw_axis *columns = &windows->columns;

    *rows = same;
    *columns = same;
    switch (stage->op) {
    case NRW_OP_BOTTLENECK:
        params = &((const struct nrw_bottleneck_params *)params)->depthwise;
        /* fall through */
    case NRW_OP_CONV:
    case NRW_OP_DEPTHWISE:
    case NRW_OP_AVG_POOL:
    case NRW_OP_MAX_POOL:
        if (!nrw_accumulates(model, stage)) {
            const struct nrw_geometry *geometry = params;
            rows->stride = geometry->stride_h;
            rows->pad = geometry->pad_top;
            rows->extent = (geometry->kernel_h - 1) * geometry->dilation_h + 1;
            columns->stride = geometry->stride_w;
            columns->pad = geometry->pad_left;
            columns->extent = (geometry->kernel_w - 1) * geometry->dilation_w + 1;
        }
        break;
    case NRW_OP_ELEMENTWISE:
        rows->stride = in->height != 1;
        columns->stride = in->width != 1;
        break;
    case NRW_OP_SLICE: {
        const struct nrw_slice_params *slice = params;
        rows->stride = slice->stride[0];
        rows->pad = -(int32_t)slice->begin[0];
        columns->stride = slice->stride[1];
        columns->pad = -(int32_t)slice->begin[1];
        break;
    }
    case NRW_OP_CONCAT: {
        const struct nrw_concat_params *concat = params;
        for (uint32_t i = 0; concat->axis == 0 && i < input; i++) {
            rows->pad += nrw_input_of(model, stage, i)->height;
        }
        if (concat->axis == 1) {
            *columns = (struct nrw_axis){0, 0, in->width};
        }
        break;
    }
    case NRW_OP_RESIZE:
    case NRW_OP_RESHAPE:
        *rows = (struct nrw_axis){0, 0, in->height};
        *columns = (struct nrw_axis){0, 0, in->width};
        break;
    case NRW_OP_PAD:
        rows->pad = ((const struct nrw_pad_params *)params)->before[0];
        *columns = (struct nrw_axis){0, 0, in->width};
        break;
    case NRW_OP_MEAN:
        if (!nrw_accumulates(model, stage)) {
            *columns = (struct nrw_axis){0, 0, in->width};
        }
        break;
    default:
        break;
    }
}

static struct nrw_range rows_resized(const struct nrw_model *model,
                                     const struct nrw_stage *stage, uint32_t row)
{
    const struct nrw_resize_params *params = nrw_at(model, stage->params);
    const struct nrw_sample *sample = nrw_at(model, params->rows);
    struct nrw_range rows;

    rows.lo = sample[row].low;
    rows.hi = rows.lo + 1 + (sample[row].fraction != 0);
    return rows;
}

static struct nrw_range rows_reshaped(const struct nrw_model *model,
                                      const struct nrw_stage *stage, uint32_t row)
{
    const uint32_t in_bytes = nrw_row_bytes(nrw_input_of(model, stage, 0));
    const uint32_t out_bytes = nrw_row_bytes(nrw_output_of(model, stage));
    struct nrw_range rows;

    rows.lo = (int32_t)(row * out_bytes / in_bytes);
    rows.hi = (int32_t)(((row + 1) * out_bytes - 1) / in_bytes + 1);
    return rows;
}

struct nrw_range nrw_columns(const struct nrw_model *model, const struct nrw_stage *stage,
                             uint32_t input, const struct nrw_firing *firing)
{
    const int32_t width = nrw_input_of(model, stage, input)->width;
    struct nrw_windows windows;
    struct nrw_range columns;

    nrw_windows_of(&windows, model, stage, input);
    columns.lo = nrw_window_start(&windows.columns, firing->x0, width);
    columns.hi = nrw_window_end(&windows.columns, firing->x1, width);
    return columns;
}

struct nrw_range nrw_rows(const struct nrw_model *model, const struct nrw_stage *stage,
                          uint32_t input, const struct nrw_firing *firing)
{
    const int32_t height = nrw_input_of(model, stage, input)->height;
    struct nrw_windows windows;
    struct nrw_range rows;

    nrw_windows_of(&windows, model, stage, input);
    rows.lo = nrw_window_start(&windows.rows, firing->y0, height);
    rows.hi = nrw_window_end(&windows.rows, firing->y1, height);
    return rows;
}

struct nrw_range nrw_expands(const struct nrw_model *model, const struct nrw_stage *stage,
                             const struct nrw_firing *firing)
{
    struct nrw_range rows = nrw_rows(model, stage, 0, firing);

    if (nrw_is_rolling(stage)) {
        const struct nrw_geometry *geometry =
            &bottleneck_params(model, stage)->depthwise.geometry;
        const int32_t absorbed = nrw_absorbed(model, stage);
        if (firing->y0 < 0) {
            rows.lo = firing->y0 + absorbed;
            rows.hi = rows.lo + 1;
            return rows;
        }
        /* All but the last stride rows of the window are kept from earlier firings. */
        rows.lo = nrw_clip((firing->y0 - 1) * geometry->stride_h - geometry->pad_top +
                               geometry->kernel_h, rows.hi);
        if (rows.lo < absorbed) {
            rows.lo = nrw_lesser(absorbed, rows.hi);
        }
    }
    return rows;
}

struct nrw_range nrw_needs(const struct nrw_model *model, const struct nrw_stage *stage,
                           uint32_t input, const struct nrw_firing *firing)
{
    const struct nrw_tensor *in = nrw_input_of(model, stage, input);
    const int32_t width = in->width;
    struct nrw_windows windows;
    struct nrw_range rows, columns, pixels;
    int32_t later; /* the first row that later rows of the frame need */

    nrw_windows_of(&windows, model, stage, input);
    columns.lo = nrw_window_start(&windows.columns, firing->x0, width);
    columns.hi = nrw_window_end(&windows.columns, firing->x1, width);
    if (nrw_is_rolling(stage)) {
        rows = nrw_expands(model, stage, firing);
        columns.lo = nrw_reached(&windows.columns, firing->x0, width);
        later = rows.hi;
    } else if (stage->op == NRW_OP_RESIZE) {
        rows = rows_resized(model, stage, (uint32_t)firing->y0);
        later = rows.hi;
    } else if (stage->op == NRW_OP_RESHAPE) {
        rows = rows_reshaped(model, stage, (uint32_t)firing->y0);
        later = rows.hi;
    } else {
        rows.lo = nrw_window_start(&windows.rows, firing->y0, in->height);
        rows.hi = nrw_window_end(&windows.rows, firing->y1, in->height);
        later = nrw_window_start(&windows.rows, firing->y1, in->height);
    }
    pixels.lo = rows.lo * width;
    pixels.hi = pixels.lo;
    if (rows.hi > rows.lo) {
        pixels.hi = (rows.hi - 1) * width + columns.hi;
        /* Of the rows that later ones share with this one, every pixel stays. */
        pixels.lo = nrw_lesser(nrw_lesser(pixels.lo + columns.lo, later * width), pixels.hi);
    }
    if (stage->op == NRW_OP_BOTTLENECK && (stage->flags & NRW_ADD_INPUT) != 0) {
        /* The residual reads the input's pixels of the numbers that the output's have. */
        const int32_t first = firing->y0 < 0 ? 0 : firing->y0 * width + firing->x0;
        pixels.lo = nrw_lesser(pixels.lo, first);
    }
    return pixels;
}
