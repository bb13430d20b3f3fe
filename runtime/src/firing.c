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
                   const struct nrw_firing *firing)
{
    const struct nrw_tensor *out = nrw_output_of(model, stage);

    if (nrw_accumulates(model, stage)) {
        return nrw_is_last(model, stage, firing) ? nrw_pixels(out) : 0;
    }
    return firing->y1 <= 0 ? 0 : (uint32_t)((firing->y1 - 1) * out->width + firing->x1);
}

struct nrw_axis nrw_axis_of(const struct nrw_model *model, const struct nrw_stage *stage,
                            uint32_t input, uint32_t axis)
{
    const struct nrw_tensor *in = nrw_input_of(model, stage, input);
    const void *params = nrw_at(model, stage->params);
    const struct nrw_axis all = {0, 0, nrw_extent(in, axis)};
    struct nrw_axis window = {1, 0, 1};

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
            if (axis == 0) {
                window.stride = geometry->stride_h;
                window.pad = geometry->pad_top;
                window.extent = (geometry->kernel_h - 1) * geometry->dilation_h + 1;
            } else {
                window.stride = geometry->stride_w;
                window.pad = geometry->pad_left;
                window.extent = (geometry->kernel_w - 1) * geometry->dilation_w + 1;
            }
        }
        return window;
    case NRW_OP_ELEMENTWISE:
        window.stride = nrw_extent(in, axis) != 1;
        return window;
    case NRW_OP_CONCAT:
        if (((const struct nrw_concat_params *)params)->axis == axis) {
            if (axis == 1) {
                return all;
            }
            for (uint32_t i = 0; i < input; i++) {
                window.pad += nrw_input_of(model, stage, i)->height;
            }
        }
        return window;
    case NRW_OP_SLICE:
        window.stride = ((const struct nrw_slice_params *)params)->stride[axis];
        window.pad = -(int32_t)((const struct nrw_slice_params *)params)->begin[axis];
        return window;
    case NRW_OP_PAD:
        window.pad = ((const struct nrw_pad_params *)params)->before[0];
        return axis == 1 ? all : window;
    case NRW_OP_MEAN:
        return axis == 1 && !nrw_accumulates(model, stage) ? all : window;
    case NRW_OP_RESIZE:
    case NRW_OP_RESHAPE:
        return all;
    default:
        return window;
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
    const struct nrw_axis axis = nrw_axis_of(model, stage, input, 1);
    const int32_t width = nrw_input_of(model, stage, input)->width;
    struct nrw_range columns;

    columns.lo = nrw_window_start(&axis, firing->x0, width);
    columns.hi = nrw_window_end(&axis, firing->x1, width);
    return columns;
}

struct nrw_range nrw_rows(const struct nrw_model *model, const struct nrw_stage *stage,
                          uint32_t input, const struct nrw_firing *firing)
{
    const struct nrw_axis axis = nrw_axis_of(model, stage, input, 0);
    const int32_t height = nrw_input_of(model, stage, input)->height;
    struct nrw_range rows;

    rows.lo = nrw_window_start(&axis, firing->y0, height);
    rows.hi = nrw_window_end(&axis, firing->y1, height);
    return rows;
}

struct nrw_range nrw_expands(const struct nrw_model *model, const struct nrw_stage *stage,
                             const struct nrw_firing *firing)
{
    struct nrw_range rows = nrw_rows(model, stage, 0, firing);

    if (nrw_is_rolling(stage)) {
        const struct nrw_axis axis = nrw_axis_of(model, stage, 0, 0);
        const int32_t absorbed = nrw_absorbed(model, stage);
        if (firing->y0 < 0) {
            rows.lo = firing->y0 + absorbed;
            rows.hi = rows.lo + 1;
            return rows;
        }
        /* All but the last stride rows of the window are kept from earlier firings. */
        rows.lo = nrw_clip((firing->y0 - 1) * axis.stride - axis.pad + axis.extent, rows.hi);
        if (rows.lo < absorbed) {
            rows.lo = nrw_lesser(absorbed, rows.hi);
        }
    }
    return rows;
}

static struct nrw_range rolling_needs(const struct nrw_model *model,
                                      const struct nrw_stage *stage,
                                      const struct nrw_firing *firing)
{
    const struct nrw_range rows = nrw_expands(model, stage, firing);
    const struct nrw_axis axis = nrw_axis_of(model, stage, 0, 1);
    const int32_t width = nrw_input_of(model, stage, 0)->width;
    struct nrw_range pixels;

    pixels.lo = rows.lo * width;
    pixels.hi = pixels.lo;
    if (rows.hi > rows.lo) {
        pixels.lo += nrw_reached(&axis, firing->x0, width);
        pixels.hi = (rows.hi - 1) * width + nrw_reached(&axis, firing->x1, width);
    }
    return pixels;
}

static struct nrw_range window_needs(const struct nrw_model *model,
                                     const struct nrw_stage *stage, uint32_t input,
                                     const struct nrw_firing *firing)
{
    const struct nrw_tensor *in = nrw_input_of(model, stage, input);
    const struct nrw_axis axis = nrw_axis_of(model, stage, input, 0);
    const int32_t top = nrw_window_start(&axis, firing->y0, in->height);
    const int32_t bottom = nrw_window_end(&axis, firing->y1, in->height);
    struct nrw_range pixels;

    pixels.lo = top * in->width;
    pixels.hi = pixels.lo;
    if (bottom > top) {
        const struct nrw_range columns = nrw_columns(model, stage, input, firing);
        /* Of the rows that later windows share with this one, every pixel stays. */
        const int32_t later = nrw_window_start(&axis, firing->y1, in->height) * in->width;
        pixels.hi = (bottom - 1) * in->width + columns.hi;
        pixels.lo = nrw_lesser(nrw_lesser(pixels.lo + columns.lo, later), pixels.hi);
    }
    return pixels;
}

struct nrw_range nrw_needs(const struct nrw_model *model, const struct nrw_stage *stage,
                           uint32_t input, const struct nrw_firing *firing)
{
    struct nrw_range pixels;

    if (stage->op == NRW_OP_RESIZE || stage->op == NRW_OP_RESHAPE) {
        const uint32_t row = (uint32_t)firing->y0;
        const int32_t width = nrw_input_of(model, stage, input)->width;
        const struct nrw_range rows = stage->op == NRW_OP_RESIZE
                                          ? rows_resized(model, stage, row)
                                          : rows_reshaped(model, stage, row);
        pixels.lo = rows.lo * width;
        pixels.hi = rows.hi * width;
        return pixels;
    }
    pixels = nrw_is_rolling(stage) ? rolling_needs(model, stage, firing)
                                   : window_needs(model, stage, input, firing);
    if (stage->op == NRW_OP_BOTTLENECK && (stage->flags & NRW_ADD_INPUT) != 0) {
        /* The residual reads the input's pixels of the numbers that the output's have. */
        const int32_t width = nrw_input_of(model, stage, 0)->width;
        const int32_t first = firing->y0 < 0 ? 0 : firing->y0 * width + firing->x0;
        pixels.lo = nrw_lesser(pixels.lo, first);
    }
    return pixels;
}
