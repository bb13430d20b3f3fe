/* SPDX-License-Identifier: Apache-2.0 */
#include "bottleneck.h"

#include "../src/check.h"
#include "../src/firing.h"
#include "../src/sizes.h"
#include "arithmetic.h"

/* --- What nrw_open asks of it -------------------------------------------------------------- */

NRW_COLD static int check_pointwise(struct nrw_model *model, const struct nrw_pointwise_params *params,
                                    bool present, uint32_t in_channels, uint32_t out_channels)
{
    const struct nrw_filter_shape shape = {1, 1, in_channels, out_channels};

    if (!present) {
        REQUIRE(nrw_all_zero(params, sizeof *params), *params);
        return NRW_OK;
    }
    TRY(nrw_check_clamp(model, &params->act_min, &params->act_max));
    REQUIRE(nrw_in_body(model, params->weights,
                        nrw_conv_weight_bytes(nrw_header_of(model)->layout, &shape), 4),
            params->weights);
    return nrw_check_channels(model, &params->channels, out_channels, &model->conv_shift);
}

/* A bottleneck's expansion: any CONV without dilation. */
NRW_COLD static int check_expansion(struct nrw_model *model, const struct nrw_bottleneck_params *params,
                                    bool present, const struct nrw_tensor *in)
{
    const struct nrw_geometry *geometry = &params->expand.geometry;

    if (!present) {
        REQUIRE(nrw_all_zero(&params->expand, sizeof params->expand), params->expand);
        REQUIRE(params->grid_height == in->height, params->grid_height);
        REQUIRE(params->grid_width == in->width, params->grid_width);
        return NRW_OK;
    }
    REQUIRE(params->grid_height > 0, params->grid_height);
    REQUIRE(params->grid_width > 0, params->grid_width);
    REQUIRE(geometry->dilation_h == 1, geometry->dilation_h);
    REQUIRE(geometry->dilation_w == 1, geometry->dilation_w);
    return nrw_check_conv(model, &params->expand, in->channels, params->mid_channels, false);
}

NRW_COLD static int check(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_bottleneck_params *params = nrw_at(model, stage->params);
    const struct nrw_geometry *geometry = &params->depthwise.geometry;
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    const bool expand = (stage->flags & NRW_EXPAND) != 0;
    const bool project = (stage->flags & NRW_PROJECT) != 0;
    const bool add = (stage->flags & NRW_ADD_INPUT) != 0;
    const bool rolling = nrw_rolls(stage);
    const uint32_t mid = params->mid_channels;

    REQUIRE(expand || (project && !rolling), stage->flags);
    REQUIRE(mid > 0 && (expand || mid == in->channels) && (project || mid == out->channels),
            params->mid_channels);
    REQUIRE(params->slice > 0 && params->slice <= mid && (!rolling || params->slice == mid),
            params->slice);
    REQUIRE(params->col_tile > 0 && params->col_tile <= stage->strip, params->col_tile);
    REQUIRE(expand || params->expanded_zero_point == in->zero_point,
            params->expanded_zero_point);
    REQUIRE(project || params->filtered_zero_point == out->zero_point,
            params->filtered_zero_point);
    REQUIRE(add || params->projected_zero_point == out->zero_point,
            params->projected_zero_point);
    REQUIRE(params->row_tile > 0 && params->row_tile <= (rolling ? 1 : out->height),
            params->row_tile);
    REQUIRE(params->row_tile == 1 || stage->strip == out->width, stage->strip);
    /* What is expanded for one part of a tile would be expanded again for the other. */
    REQUIRE(rolling || (!expand && params->row_tile == 1) || nrw_is_even(model, stage),
            stage->strip);

    REQUIRE(geometry->dilation_h == 1, geometry->dilation_h);
    REQUIRE(geometry->dilation_w == 1, geometry->dilation_w);
    REQUIRE(geometry->depth_multiplier == 1, geometry->depth_multiplier);
    TRY(nrw_check_depthwise(model, &params->depthwise, mid));
    REQUIRE(!rolling || geometry->kernel_h >= geometry->stride_h, geometry->kernel_h);
    REQUIRE(params->kept_rows <= (rolling ? geometry->kernel_h - geometry->stride_h : 0),
            params->kept_rows);
    TRY(check_expansion(model, params, expand, in));
    TRY(check_pointwise(model, &params->project, project, mid, out->channels));
    if (!add) {
        REQUIRE(nrw_all_zero(&params->add, sizeof params->add), params->add);
        return NRW_OK;
    }
    REQUIRE(project && nrw_same_shape(in, out), stage->flags);
    REQUIRE(!expand || nrw_is_pointwise(&params->expand.geometry),
            params->expand.geometry.kernel_h);
    REQUIRE(geometry->stride_h == 1, geometry->stride_h);
    REQUIRE(geometry->stride_w == 1, geometry->stride_w);
    /* so that a window's last pixel is not before the residual's */
    REQUIRE(geometry->pad_top < geometry->kernel_h, geometry->pad_top);
    REQUIRE(geometry->pad_left < geometry->kernel_w, geometry->pad_left);
    REQUIRE(params->add.function == NRW_ADD, params->add.function);
    return nrw_check_arithmetic(model, &params->add);
}

/* --- Firings ----------------------------------------------------------------------------- */

static const struct nrw_bottleneck_params *params_of(const struct nrw_model *model,
                                                     const struct nrw_stage *stage)
{
    return nrw_at(model, stage->params);
}

/* The first row of those that the windows of output row y cover and that no line buffer holds. */
static int32_t first_expanded(const struct nrw_bottleneck_params *params, int32_t y)
{
    const struct nrw_geometry *geometry = &params->depthwise.geometry;

    return nrw_clip(y * geometry->stride_h - geometry->pad_top + params->kept_rows,
                    params->grid_height);
}

/* Rows of a rolling stage's firings that fill line buffers before it gives its first row. */
static int32_t absorbed(const struct nrw_model *model, const struct nrw_stage *stage)
{
    return first_expanded(params_of(model, stage), 0);
}

struct nrw_range nrw_expands(const struct nrw_model *model, const struct nrw_stage *stage,
                             const struct nrw_firing *firing)
{
    const struct nrw_bottleneck_params *params = params_of(model, stage);
    const struct nrw_axis window = nrw_rows_of(&params->depthwise.geometry);
    const int32_t height = params->grid_height;
    struct nrw_range rows;

    if (firing->y0 < 0) {
        rows.lo = firing->y0 + absorbed(model, stage);
        rows.hi = rows.lo + 1;
    } else {
        rows.hi = nrw_window_end(&window, firing->y1, height);
        rows.lo = nrw_lesser(first_expanded(params, firing->y0), rows.hi);
    }
    return rows;
}

static uint32_t firing_rows(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const uint32_t height = nrw_output_of(model, stage)->height;
    const uint32_t row_tile = params_of(model, stage)->row_tile;

    return nrw_rolls(stage) ? height + (uint32_t)absorbed(model, stage)
                                      : (height + row_tile - 1u) / row_tile;
}

static void firing_of(struct nrw_firing *firing, const struct nrw_model *model,
                      const struct nrw_stage *stage, int32_t row)
{
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    const int32_t row_tile = params_of(model, stage)->row_tile;

    if (nrw_rolls(stage)) {
        firing->y0 = row - absorbed(model, stage);
        firing->y1 = firing->y0 + 1;
    } else {
        firing->y0 = row * row_tile;
        firing->y1 = nrw_lesser(firing->y0 + row_tile, out->height);
    }
    firing->given =
        firing->y0 < 0 ? 0 : (uint32_t)((firing->y1 - 1) * out->width + firing->x1);
}

static struct nrw_range needs(const struct nrw_model *model, const struct nrw_stage *stage,
                              uint32_t input, const struct nrw_firing *firing)
{
    const struct nrw_bottleneck_params *params = params_of(model, stage);
    const struct nrw_geometry *geometry = &params->depthwise.geometry;
    const struct nrw_tensor *in = nrw_input_of(model, stage, input);
    const struct nrw_axis window = nrw_columns_of(geometry);
    const int32_t width = in->width;
    struct nrw_range rows = nrw_expands(model, stage, firing);
    int32_t later = firing->y0 < 0 ? rows.hi : first_expanded(params, firing->y1);
    struct nrw_range columns;

    columns.lo = nrw_rolls(stage)
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

/* --- Sizes and work ------------------------------------------------------------------------ */

static uint32_t segment(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_bottleneck_shape shape = nrw_bottleneck_shape_of(model, stage);

    return nrw_bottleneck_columns(&shape);
}

NRW_COLD static struct nrw_sizes sizes(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const uint32_t layout = nrw_header_of(model)->layout;
    const struct nrw_bottleneck_shape shape = nrw_bottleneck_shape_of(model, stage);
    const struct nrw_sizes sizes = {nrw_bottleneck_state_bytes(&shape),
                                    nrw_bottleneck_scratch_bytes(layout, &shape)};

    return sizes;
}

/* Columns that a firing expands; where its tiles overlap, they count more than once. */
NRW_COLD static uint64_t expanded_columns(const struct nrw_bottleneck_params *params, bool is_rolling,
                                          const struct nrw_firing *firing)
{
    const struct nrw_axis window = nrw_columns_of(&params->depthwise.geometry);
    const int32_t width = params->grid_width;
    uint64_t columns = 0;

    if (is_rolling) {
        return (uint32_t)(nrw_reached(&window, firing->x1, width) -
                          nrw_reached(&window, firing->x0, width));
    }
    for (int32_t x = firing->x0; x < firing->x1; x += params->col_tile) {
        const int32_t end = nrw_lesser(x + params->col_tile, firing->x1);
        columns += (uint32_t)(nrw_window_end(&window, end, width) -
                              nrw_window_start(&window, x, width));
    }
    return columns;
}

/* The columns that all firings of a row expand, and the most that one of them does. */
struct columns {
    uint64_t all, most;
};

NRW_COLD static struct columns columns_of(const struct nrw_model *model, const struct nrw_stage *stage,
                                          uint32_t strips)
{
    struct columns columns = {0, 0};

    for (uint32_t f = 0; f < strips; f++) {
        struct nrw_firing firing;
        nrw_firing_of(&firing, model, stage, f);
        const uint64_t some =
            expanded_columns(params_of(model, stage), nrw_rolls(stage), &firing);
        columns.all += some;
        columns.most = some > columns.most ? some : columns.most;
    }
    return columns;
}

/* Copies of wrapped rows in a firing that expands so many rows: each tile and slice of channels reads
 * them anew, the expansion one for each row of the grid, the depthwise one for each output row. */
NRW_COLD static uint64_t copies_of(const struct nrw_bottleneck_shape *shape, uint32_t expanded)
{
    const uint32_t tiles = (shape->strip + shape->col_tile - 1u) / shape->col_tile;
    const uint32_t slices = (shape->mid_channels + shape->slice - 1u) / shape->slice;
    const uint32_t rows = shape->has_expand ? expanded : shape->row_tile;
    const uint64_t copies =
        tiles * (slices * (uint64_t)rows + (shape->has_add ? shape->row_tile : 0u));

    return copies < UINT32_MAX ? copies : UINT32_MAX;
}

/* Firings are alike from row to row but for the rows that they expand, and within a row but for
 * the columns: so the most of both is the most of a firing. */
NRW_COLD static struct nrw_work work(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_bottleneck_params *params = params_of(model, stage);
    const struct nrw_bottleneck_shape shape = nrw_bottleneck_shape_of(model, stage);
    const uint64_t mid = shape.mid_channels;
    const uint32_t out = shape.has_project ? shape.out_channels : 0;
    const uint64_t depth = nrw_taps_of(&params->expand.geometry) * shape.in_channels;
    /* Of an output pixel, < 2^33 both: with what is finished there. */
    const uint64_t macs = mid * (nrw_taps_of(&params->depthwise.geometry) + out);
    const uint64_t filtered = macs + mid + (shape.has_add ? 2 * out : out);
    const uint32_t strips = nrw_strips_of(stage, shape.out_width);
    const uint32_t count = nrw_firings(model, stage);
    uint32_t most_expanded = 0;
    struct columns columns = {0, 0};
    struct nrw_work work = {0, 0, 0};

    if (shape.has_expand) {
        columns = columns_of(model, stage, strips);
    }
    const uint64_t row = columns.most * mid * (depth + 1); /* of a row that is expanded */
    if (row > NRW_MAX_STEP_WORK) {
        work.step = row;
        return work;
    }
    const uint64_t row_macs = columns.all * mid * depth;
    for (uint32_t f = 0; f < count; f += strips) {
        struct nrw_firing firing;
        nrw_firing_of(&firing, model, stage, f);
        const struct nrw_range rows = nrw_expands(model, stage, &firing);
        const uint32_t expanded = (uint32_t)(rows.hi - rows.lo);
        const uint32_t given = firing.y0 < 0 ? 0 : (uint32_t)(firing.y1 - firing.y0);
        const uint64_t step = given * stage->strip * filtered + expanded * row;

        work.macs += given * shape.out_width * macs + expanded * row_macs;
        work.step = step > work.step ? step : work.step;
        most_expanded = nrw_most(most_expanded, expanded);
    }
    work.copies = copies_of(&shape, most_expanded);
    return work;
}

#ifdef NARROWS_PLANNING
/* What depthwise and projection multiply for an output pixel. */
static uint64_t filter_macs(const struct nrw_bottleneck_params *params,
                            const struct nrw_bottleneck_shape *shape)
{
    return params->mid_channels * (nrw_taps_of(&params->depthwise.geometry) +
                                   (shape->has_project ? shape->out_channels : 0u));
}

/* What the expansion multiplies for a pixel of the grid. */
static uint64_t expansion_macs(const struct nrw_bottleneck_params *params,
                               const struct nrw_bottleneck_shape *shape)
{
    /* Without an expansion the parameters are zero. */
    return nrw_taps_of(&params->expand.geometry) * shape->in_channels * params->mid_channels;
}

static uint64_t macs(const struct nrw_model *model, const struct nrw_stage *stage,
                     const struct nrw_firing *firing)
{
    const struct nrw_bottleneck_params *params = params_of(model, stage);
    const struct nrw_bottleneck_shape shape = nrw_bottleneck_shape_of(model, stage);
    const struct nrw_range rows = nrw_expands(model, stage, firing);
    const uint32_t given = firing->y0 < 0 ? 0 : (uint32_t)(firing->y1 - firing->y0);

    return given * nrw_firing_pixels(firing) * filter_macs(params, &shape) +
           (uint32_t)(rows.hi - rows.lo) * expanded_columns(params, shape.rolling, firing) *
               expansion_macs(params, &shape);
}

/* Positions of an axis that any window of so many covers. */
static uint64_t seen(const struct nrw_axis axis, int32_t windows, int32_t size)
{
    uint64_t count = 0;
    int32_t end = 0;

    for (int32_t i = 0; i < windows; i++) {
        const struct nrw_range covered = nrw_covered(&axis, i, i + 1, size);
        const int32_t fresh = covered.lo > end ? covered.lo : end;
        if (covered.hi > fresh) {
            count += (uint32_t)(covered.hi - fresh);
            end = covered.hi;
        }
    }
    return count;
}

/* A rolling stage expands the rows and columns between windows too. */
static uint64_t macs_once(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_bottleneck_params *params = params_of(model, stage);
    const struct nrw_bottleneck_shape shape = nrw_bottleneck_shape_of(model, stage);
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    const struct nrw_axis down = nrw_rows_of(&params->depthwise.geometry);
    const struct nrw_axis across = nrw_columns_of(&params->depthwise.geometry);
    uint64_t pixels;

    if (shape.rolling) {
        pixels = (uint64_t)nrw_window_end(&down, out->height, params->grid_height) *
                 (uint64_t)nrw_window_end(&across, out->width, params->grid_width);
    } else {
        pixels = seen(down, out->height, params->grid_height) *
                 seen(across, out->width, params->grid_width);
    }
    return pixels * expansion_macs(params, &shape) + nrw_pixels(out) * filter_macs(params, &shape);
}

static struct nrw_state_columns columns_of_state(const struct nrw_model *model,
                                                 const struct nrw_stage *stage)
{
    const struct nrw_bottleneck_shape shape = nrw_bottleneck_shape_of(model, stage);
    const struct nrw_bottleneck_parts parts = nrw_bottleneck_parts(&shape, nrw_any_product);
    const uint32_t overlap = shape.kernel_w > shape.stride_w ? shape.kernel_w - shape.stride_w : 0;
    struct nrw_state_columns columns = {0, 0, 0, 0};

    if (nrw_bottleneck_resumes(&shape)) {
        columns.offset = parts.kept;
        columns.rows = nrw_least(shape.grid_height, shape.kernel_h - shape.kept_rows);
        columns.pitch = parts.columns * shape.mid_channels;
        columns.carried = nrw_least(shape.grid_width, overlap) * shape.mid_channels;
    }
    return columns;
}
#endif

const struct nrw_operator nrw_operator_bottleneck = {
    .least_inputs = 1,
    .most_inputs = 1,
    .forms = 1u << NRW_TILED | 1u << NRW_ROLLING,
    .flags = NRW_EXPAND | NRW_PROJECT | NRW_ADD_INPUT,
    .params_bytes = sizeof(struct nrw_bottleneck_params),
    .reads = NRW_READS_OTHERWISE,
    .check = check,
    .needs = needs,
    .firing_rows = firing_rows,
    .firing = firing_of,
    .segment = segment,
    .sizes = sizes,
    .work = work,
    .compute = nrw_bottleneck_compute,
#ifdef NARROWS_PLANNING
    .macs = macs,
    .macs_once = macs_once,
    .columns = columns_of_state,
#endif
};
