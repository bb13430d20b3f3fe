/* SPDX-License-Identifier: Apache-2.0 */
#include "firing.h"

#include "../kernels/resize.h"

static const struct nrw_bottleneck_params *bottleneck_params(const struct nrw_model *model,
                                                             const struct nrw_stage *stage)
{
    return nrw_at(model, stage->params);
}

/* BOTTLENECK: of the rows that the windows of output row y cover, the first that is not kept. */
static int32_t first_expanded(const struct nrw_bottleneck_params *params, int32_t y)
{
    const struct nrw_geometry *geometry = &params->depthwise.geometry;

    return nrw_clip(y * geometry->stride_h - geometry->pad_top + params->kept_rows,
                    params->grid_height);
}

int32_t nrw_absorbed(const struct nrw_model *model, const struct nrw_stage *stage)
{
    return first_expanded(bottleneck_params(model, stage), 0);
}

uint32_t nrw_firings(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_tensor *frame = nrw_frame(model, stage);
    uint32_t rows = frame->height;

    if (nrw_is_rolling(stage)) {
        rows += (uint32_t)nrw_absorbed(model, stage);
    } else if (stage->op == NRW_OP_ROLLING_DEPTHWISE) {
        rows = 2 * rows + 1;
    } else if (stage->op == NRW_OP_BOTTLENECK) {
        const uint32_t row_tile = bottleneck_params(model, stage)->row_tile;
        rows = (rows + row_tile - 1) / row_tile;
    }
    return rows * (frame->width / stage->run);
}

void nrw_peculiar_firing_of(struct nrw_firing *firing, const struct nrw_model *model,
                            const struct nrw_stage *stage, uint32_t number)
{
    const bool accumulates = nrw_accumulates(model, stage);
    const struct nrw_tensor *frame = nrw_frame(model, stage);
    const int32_t width = frame->width;
    const struct nrw_place place = nrw_place_of(stage, width, number);
    int32_t row = place.row;
    int32_t rows = 1;

    if (stage->op == NRW_OP_BOTTLENECK) {
        if (nrw_is_rolling(stage)) {
            row -= nrw_absorbed(model, stage);
        } else {
            rows = bottleneck_params(model, stage)->row_tile;
            row *= rows;
            rows = nrw_lesser(rows, frame->height - row);
        }
    }
    firing->y0 = row;
    firing->y1 = row + rows;
    firing->x0 = place.column;
    firing->x1 = place.column + stage->run;
    firing->given = row < 0 ? 0 : (uint32_t)((row + rows - 1) * width + firing->x1);
    if (stage->op == NRW_OP_ROLLING_DEPTHWISE) {
        const int32_t before = row > 0 ? (row - 1) / 2 * width : 0;
        firing->given = (uint32_t)(before + (row > 0 && row % 2 == 0 ? firing->x1 : 0));
    }
    firing->is_last = firing->given == nrw_pixels(frame);
    if (accumulates) {
        firing->given = firing->is_last ? nrw_pixels(nrw_output_of(model, stage)) : 0;
    }
}

struct nrw_windows nrw_windows_of(const struct nrw_model *model, const struct nrw_stage *stage,
                                  uint32_t input)
{
    static const struct nrw_axis same = {1, 0, 1};
    const struct nrw_tensor *in = nrw_input_of(model, stage, input);
    const struct nrw_axis all_rows = {0, 0, in->height};
    const struct nrw_axis all_columns = {0, 0, in->width};
    const void *params = nrw_at(model, stage->params);
    struct nrw_windows windows = {same, same};

    switch (stage->op) {
    case NRW_OP_BOTTLENECK:
        params = &((const struct nrw_bottleneck_params *)params)->depthwise;
        /* fall through */
    case NRW_OP_CONV:
    case NRW_OP_DEPTHWISE:
    case NRW_OP_AVG_POOL:
    case NRW_OP_MAX_POOL:
        if (!nrw_accumulates(model, stage)) {
            windows.rows = nrw_rows_of(params);
            windows.columns = nrw_columns_of(params);
        }
        break;
    case NRW_OP_ROLLING_DEPTHWISE:
        windows.rows.pad = ((const struct nrw_geometry *)params)->pad_top;
        windows.columns = nrw_columns_of(params);
        break;
    case NRW_OP_ELEMENTWISE:
        windows.rows.stride = in->height != 1;
        windows.columns.stride = in->width != 1;
        break;
    case NRW_OP_SLICE: {
        const struct nrw_slice_params *slice = params;
        windows.rows.stride = slice->stride[0];
        windows.rows.pad = -(int32_t)slice->begin[0];
        windows.columns.stride = slice->stride[1];
        windows.columns.pad = -(int32_t)slice->begin[1];
        break;
    }
    case NRW_OP_CONCAT: {
        const struct nrw_concat_params *concat = params;
        for (uint32_t i = 0; concat->axis == 0 && i < input; i++) {
            windows.rows.pad += nrw_input_of(model, stage, i)->height;
        }
        if (concat->axis == 1) {
            windows.columns = all_columns;
        }
        break;
    }
    case NRW_OP_RESIZE:
    case NRW_OP_RESHAPE:
        windows.rows = all_rows;
        windows.columns = all_columns;
        break;
    case NRW_OP_PAD:
        windows.rows.pad = ((const struct nrw_pad_params *)params)->before[0];
        windows.columns = all_columns;
        break;
    case NRW_OP_MEAN:
        if (!nrw_accumulates(model, stage)) {
            windows.columns = all_columns;
        }
        break;
    default:
        break;
    }
    return windows;
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

struct nrw_area nrw_area_of(const struct nrw_model *model, const struct nrw_stage *stage,
                            uint32_t input, const struct nrw_firing *firing)
{
    const struct nrw_tensor *in = nrw_input_of(model, stage, input);
    const struct nrw_windows windows = nrw_windows_of(model, stage, input);
    struct nrw_area area;

    area.rows = nrw_covered(&windows.rows, firing->y0, firing->y1, in->height);
    area.columns = nrw_covered(&windows.columns, firing->x0, firing->x1, in->width);
    return area;
}

struct nrw_range nrw_expands(const struct nrw_model *model, const struct nrw_stage *stage,
                             const struct nrw_firing *firing)
{
    const struct nrw_bottleneck_params *params = bottleneck_params(model, stage);
    const struct nrw_axis window = nrw_rows_of(&params->depthwise.geometry);
    const int32_t height = params->grid_height;
    struct nrw_range rows;

    if (firing->y0 < 0) {
        rows.lo = firing->y0 + nrw_absorbed(model, stage);
        rows.hi = rows.lo + 1;
    } else {
        rows.hi = nrw_window_end(&window, firing->y1, height);
        rows.lo = nrw_lesser(first_expanded(params, firing->y0), rows.hi);
    }
    return rows;
}

/* BOTTLENECK */
static struct nrw_range needs_of_bottleneck(const struct nrw_model *model,
                                            const struct nrw_stage *stage,
                                            const struct nrw_firing *firing)
{
    const struct nrw_bottleneck_params *params = bottleneck_params(model, stage);
    const struct nrw_geometry *geometry = &params->depthwise.geometry;
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);
    const struct nrw_axis window = nrw_columns_of(geometry);
    const int32_t width = in->width;
    struct nrw_range rows = nrw_expands(model, stage, firing);
    int32_t later = firing->y0 < 0 ? rows.hi : first_expanded(params, firing->y1);
    struct nrw_range columns;

    columns.lo = nrw_is_rolling(stage)
                     ? nrw_reached(&window, firing->x0, params->grid_width)
                     : nrw_window_start(&window, firing->x0, params->grid_width);
    columns.hi = nrw_window_end(&window, firing->x1, params->grid_width);
    if ((stage->flags & NRW_EXPAND) != 0) {
        const struct nrw_axis across = nrw_columns_of(&params->expand.geometry);
        const struct nrw_axis down = nrw_rows_of(&params->expand.geometry);
        later = nrw_window_start(&down, later, in->height);
        rows.hi = rows.lo < rows.hi ? nrw_window_end(&down, rows.hi, in->height) : 0;
        rows.lo = nrw_window_start(&down, rows.lo, in->height);
        columns = nrw_covered(&across, columns.lo, columns.hi, width);
    }
    struct nrw_range pixels = nrw_pixels_of(rows, columns, later, width);
    if ((stage->flags & NRW_ADD_INPUT) != 0) {
        /* The residual reads the input's pixels of the numbers that the output's have. */
        const int32_t first = firing->y0 < 0 ? 0 : firing->y0 * width + firing->x0;
        pixels.lo = nrw_lesser(pixels.lo, first);
    }
    return pixels;
}

struct nrw_range nrw_peculiar_needs(const struct nrw_model *model, const struct nrw_stage *stage,
                                    uint32_t input, const struct nrw_firing *firing)
{
    const struct nrw_tensor *in = nrw_input_of(model, stage, input);
    struct nrw_range rows;

    if (stage->op == NRW_OP_BOTTLENECK) {
        return needs_of_bottleneck(model, stage, firing);
    }
    if (stage->op == NRW_OP_RESIZE) {
        rows = rows_resized(model, stage, (uint32_t)firing->y0);
    } else if (stage->op == NRW_OP_RESHAPE) {
        rows = rows_reshaped(model, stage, (uint32_t)firing->y0);
    } else {
        const struct nrw_windows windows = nrw_windows_of(model, stage, input);
        return nrw_pixels_seen(windows.rows, windows.columns, in, firing);
    }
    rows.lo *= in->width;
    rows.hi *= in->width;
    return rows;
}
