/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiled, the expanded tensor is computed for one tile of the output and one slice of its channels
 * at a time, and the tile's halo again for the next tile. Rolling, it goes by from left to right:
 * line buffers keep some rows of a window for the next one, and of the others only as many columns
 * exist as the outputs at hand need. If all are kept that the next window needs, nothing is
 * computed twice. The expanded tensor never exists as a whole.
 */
#include <string.h>

#include "../src/sizes.h"
#include "../src/stage.h"
#include "arithmetic.h"
#include "bottleneck.h"

struct bottleneck {
    const struct nrw_run *run;
    const struct nrw_stage *stage;
    const struct nrw_bottleneck_params *params;
    const struct nrw_kernels *kernels;
    const struct nrw_tensor *in, *out;
    struct nrw_axis window; /* of the columns */
    int32_t height, width;  /* of the grid that it filters */
    /* State and scratch. */
    int8_t *kept, *expanded, *filtered;
    int32_t *sums;
    void *scratch; /* of the kernels */
    uint32_t columns; /* room in `expanded` */
    const int8_t *rows[NRW_MAX_KERNEL_H]; /* of the window that is being computed */
};

static void prepare(struct bottleneck *b, const struct nrw_run *run,
                    const struct nrw_stage *stage)
{
    const struct nrw_bottleneck_shape shape = nrw_bottleneck_shape_of(run->model, stage);
    const struct nrw_bottleneck_parts parts =
        nrw_bottleneck_parts(&shape, nrw_small_product);
    uint8_t *state = nrw_arena(run, stage->state_offset);
    uint8_t *scratch = nrw_arena(run, stage->scratch_offset);

    b->run = run;
    b->stage = stage;
    b->params = nrw_at(run->model, stage->params);
    b->kernels = run->model->kernels;
    b->in = nrw_input_of(run->model, stage, 0);
    b->out = nrw_output_of(run->model, stage);
    b->window = nrw_columns_of(&b->params->depthwise.geometry);
    b->height = b->params->grid_height;
    b->width = b->params->grid_width;
    b->kept = (int8_t *)state;
    if (nrw_bottleneck_resumes(&shape)) {
        b->expanded = (int8_t *)state + parts.kept;
    } else {
        b->expanded = (int8_t *)scratch;
        scratch += parts.expanded;
    }
    b->filtered = (int8_t *)scratch;
    scratch += parts.filtered;
    b->sums = (void *)scratch;
    scratch += parts.sums;
    b->scratch = scratch;
    b->columns = parts.columns;
}

/* Columns [x0, x1) of a row of the expansion, its channels [first, first + count), to `out`, pixel
 * after pixel. */
static void expand(struct bottleneck *b, int32_t row, int32_t x0, int32_t x1, uint32_t first,
                   uint32_t count, int8_t *out)
{
    const struct nrw_filter_params *params = &b->params->expand;
    const struct nrw_geometry *geometry = &params->geometry;
    struct nrw_window window;
    struct nrw_conv_op conv;

    if (x0 >= x1) {
        return;
    }
    nrw_gather(&window, b->run, b->stage, geometry, row, x0, x1, b->rows);
    conv.weights = nrw_at(b->run->model, params->weights);
    conv.channels = nrw_at(b->run->model, params->channels);
    conv.in_channels = b->in->channels;
    conv.out_channels = b->params->mid_channels;
    conv.in_zero_point = b->in->zero_point;
    conv.out_zero_point = b->params->expanded_zero_point;
    conv.act_min = geometry->act_min;
    conv.act_max = geometry->act_max;
    conv.most_shift = b->run->model->conv_shift;
    b->kernels->conv(&conv, &window, x0, x1, first, count, out, count, b->scratch);
}

/* Channels [first, first + count) of the depthwise, columns [x0, x1) of row y: to `filtered`, or
 * without a projection to the output. */
static void filter(const struct bottleneck *b, const struct nrw_window *window, int32_t y,
                   int32_t x0, int32_t x1, uint32_t first, uint32_t count)
{
    const struct nrw_filter_params *params = &b->params->depthwise;
    const bool is_output = (b->stage->flags & NRW_PROJECT) == 0;
    struct nrw_depthwise_op depthwise;

    depthwise.weights = nrw_at(b->run->model, params->weights);
    depthwise.channels = nrw_at(b->run->model, params->channels);
    depthwise.out_channels = b->params->mid_channels;
    depthwise.depth_multiplier = 1;
    depthwise.in_zero_point = b->params->expanded_zero_point;
    depthwise.out_zero_point = b->params->filtered_zero_point;
    depthwise.act_min = params->geometry.act_min;
    depthwise.act_max = params->geometry.act_max;
    depthwise.most_shift = b->run->model->depthwise_shift;
    b->kernels->depthwise(
        &depthwise, window, x0, x1, first, count,
        is_output ? nrw_out(b->run, b->out, y, x0) + first : b->filtered,
        is_output ? b->params->mid_channels : count, b->scratch);
}

static void project_with(struct nrw_conv_op *conv, const struct bottleneck *b)
{
    const struct nrw_pointwise_params *params = &b->params->project;

    conv->weights = nrw_at(b->run->model, params->weights);
    conv->channels = nrw_at(b->run->model, params->channels);
    conv->in_channels = b->params->mid_channels;
    conv->out_channels = b->out->channels;
    conv->in_zero_point = b->params->filtered_zero_point;
    conv->out_zero_point = b->params->projected_zero_point;
    conv->act_min = params->act_min;
    conv->act_max = params->act_max;
    conv->most_shift = b->run->model->conv_shift;
}

/* Add the input's pixels [x0, x1) of row y to the projection that stands in the output. */
static void add_input(const struct bottleneck *b, int32_t y, int32_t x0, int32_t x1)
{
    const uint32_t channels = b->out->channels;
    int8_t *out = nrw_out(b->run, b->out, y, x0);
    const struct nrw_operand a = {out, channels, 1};
    struct nrw_operand residual = {NULL, channels, 1};
    struct nrw_elementwise_op op;

    if ((b->stage->flags & NRW_ADD_INPUT) == 0) {
        return;
    }
    residual.data = nrw_segment(b->run, b->stage, 0, y, x0, x1);
    nrw_elementwise_op_of(&op, &b->params->add);
    op.a_zero_point = b->params->projected_zero_point;
    op.b_zero_point = b->in->zero_point;
    op.out_zero_point = b->out->zero_point;
    nrw_elementwise(&op, &a, &residual, (uint32_t)(x1 - x0), channels, out);
}

/* The depthwise's window: b->rows point to column `origin`, of pixels pixel_stride apart. */
static void depthwise_window(struct nrw_window *window, const struct bottleneck *b,
                             int32_t origin, uint32_t pixel_stride)
{
    const struct nrw_geometry *geometry = &b->params->depthwise.geometry;

    window->rows = b->rows;
    window->origin = origin;
    window->in_width = b->width;
    window->pixel_stride = pixel_stride;
    window->kernel_h = geometry->kernel_h;
    window->kernel_w = geometry->kernel_w;
    window->stride_w = geometry->stride_w;
    window->dilation_w = 1;
    window->pad_left = geometry->pad_left;
}

/* Finish columns [x0, x1) of row y, whose filtered channels are all there. */
static void project(const struct bottleneck *b, int32_t y, int32_t x0, int32_t x1)
{
    const int8_t *rows[1] = {b->filtered};
    const uint32_t mid = b->params->mid_channels;
    const struct nrw_window pixels = {rows, x0, b->out->width, mid, 1, 1, 1, 1, 0};
    struct nrw_conv_op conv;

    if ((b->stage->flags & NRW_PROJECT) != 0) {
        project_with(&conv, b);
        b->kernels->conv(&conv, &pixels, x0, x1, 0, b->out->channels,
                                     nrw_out(b->run, b->out, y, x0), b->out->channels,
                                     b->scratch);
        add_input(b, y, x0, x1);
    }
}

/* --- Tiled ------------------------------------------------------------------------------- */

/* A tile of the output from channels [first, first + count): finished if that is all of them or
 * there is no projection, else into the sums. expanded: rows of the whole tile. */
static void tile_slice(struct bottleneck *b, const struct nrw_firing *tile,
                       struct nrw_range expanded, uint32_t first, uint32_t count)
{
    const struct nrw_geometry *geometry = &b->params->depthwise.geometry;
    const uint32_t mid = b->params->mid_channels;
    const int32_t left = nrw_window_start(&b->window, tile->x0, b->width);
    const int32_t right = nrw_window_end(&b->window, tile->x1, b->width);
    const int32_t pitch = (right - left) * (int32_t)count;
    const uint32_t pixels = (uint32_t)(tile->x1 - tile->x0);
    const bool has_expand = (b->stage->flags & NRW_EXPAND) != 0;
    const int32_t expand_end = has_expand && left < right ? expanded.hi : expanded.lo;
    struct nrw_window window;

    depthwise_window(&window, b, left, has_expand ? count : mid);
    for (int32_t row = expanded.lo; row < expand_end; row++) {
        expand(b, row, left, right, first, count, b->expanded + (row - expanded.lo) * pitch);
    }
    for (int32_t y = tile->y0; y < tile->y1; y++) {
        int32_t row = y * geometry->stride_h - geometry->pad_top;
        for (uint32_t i = 0; i < geometry->kernel_h; i++, row++) {
            if (row < expanded.lo || row >= expanded.hi) {
                b->rows[i] = NULL;
            } else if (has_expand) {
                b->rows[i] = b->expanded + (row - expanded.lo) * pitch;
            } else {
                b->rows[i] = nrw_segment(b->run, b->stage, 0, row, left, right) + first;
            }
        }
        filter(b, &window, y, tile->x0, tile->x1, first, count);
        if (count == mid) {
            project(b, y, tile->x0, tile->x1);
        } else if ((b->stage->flags & NRW_PROJECT) != 0) {
            struct nrw_conv_op conv;
            project_with(&conv, b);
            b->kernels->conv_accumulate(
                &conv, first, count, b->filtered, count, pixels,
                b->sums + (uint32_t)(y - tile->y0) * pixels * b->out->channels);
        }
    }
}

static void tiled(struct bottleneck *b, const struct nrw_firing *firing)
{
    const struct nrw_range expanded = nrw_expands(b->run->model, b->stage, firing);
    const uint32_t mid = b->params->mid_channels;
    const uint32_t slice = b->params->slice;
    const bool sums_up = slice < mid && (b->stage->flags & NRW_PROJECT) != 0;
    struct nrw_firing tile = *firing;
    struct nrw_conv_op conv;

    project_with(&conv, b);
    for (; tile.x0 < firing->x1; tile.x0 = tile.x1) {
        tile.x1 = nrw_lesser(tile.x0 + b->params->col_tile, firing->x1);
        const uint32_t pixels = (uint32_t)(tile.x1 - tile.x0);
        const uint32_t row = pixels * b->out->channels;

        if (sums_up) {
            memset(b->sums, 0, (uint32_t)(tile.y1 - tile.y0) * row * sizeof *b->sums);
        }
        for (uint32_t first = 0; first < mid; first += slice) {
            tile_slice(b, &tile, expanded, first, slice < mid - first ? slice : mid - first);
        }
        for (int32_t y = tile.y0; sums_up && y < tile.y1; y++) {
            nrw_conv_finish(&conv, b->sums + (uint32_t)(y - tile.y0) * row, pixels,
                            nrw_out(b->run, b->out, y, tile.x0), b->out->channels);
            add_input(b, y, tile.x0, tile.x1);
        }
    }
}

/* --- Rolling ----------------------------------------------------------------------------- */

/* Expanded row r, from a column on, of those that are kept: number r % kept_rows. */
static inline int8_t *kept_row(const struct bottleneck *b, int32_t row, int32_t column)
{
    const uint32_t place = (uint32_t)row % b->params->kept_rows;

    return b->kept + ((int32_t)place * b->width + column) * b->params->mid_channels;
}

/* Output columns [x0, x1) of row y. fresh: the expanded rows that are not kept; of these,
 * `expanded` holds the columns that these windows and later ones share with earlier ones. */
static void roll(struct bottleneck *b, int32_t y, int32_t x0, int32_t x1, struct nrw_range fresh)
{
    const struct nrw_geometry *geometry = &b->params->depthwise.geometry;
    const int32_t width = b->width;
    const int32_t mid = b->params->mid_channels;
    const int32_t pitch = (int32_t)b->columns * mid;
    const int32_t top = y * geometry->stride_h - geometry->pad_top;
    const int32_t kept_from = top + geometry->stride_h;
    const int32_t end = nrw_reached(&b->window, x0, width);
    const int32_t first = nrw_lesser(nrw_window_start(&b->window, x0, width), end);
    const int32_t right = nrw_reached(&b->window, x1, width);
    struct nrw_window window;

    int8_t *columns = b->expanded;
    for (int32_t row = fresh.lo; row < fresh.hi; row++, columns += pitch) {
        expand(b, row, end, right, 0, (uint32_t)mid, columns + (end - first) * mid);
    }
    for (int32_t i = 0; i < geometry->kernel_h; i++) {
        const int32_t row = top + i;
        b->rows[i] = NULL;
        if (row >= 0 && row < b->height) {
            b->rows[i] = row < fresh.lo ? kept_row(b, row, first)
                                        : b->expanded + (row - fresh.lo) * pitch;
        }
    }
    depthwise_window(&window, b, first, (uint32_t)mid);
    filter(b, &window, y, x0, x1, 0, (uint32_t)mid);
    project(b, y, x0, x1);

    /* Columns that no later window of this row needs replace those of rows that die, if the next
     * row keeps them. */
    const int32_t next = x1 == b->out->width
                             ? right
                             : nrw_lesser(nrw_window_start(&b->window, x1, width), right);
    const size_t done = (size_t)((next - first) * mid);
    columns = b->expanded;
    for (int32_t row = fresh.lo; row < fresh.hi; row++, columns += pitch) {
        if (row >= kept_from && row < kept_from + b->params->kept_rows) {
            memmove(kept_row(b, row, first), columns, done);
        }
        if (right > next) {
            memmove(columns, columns + done, (size_t)((right - next) * mid));
        }
        nrw_poison(columns + (right - next) * mid, (size_t)(pitch - (right - next) * mid));
    }
}

static void rolling(struct bottleneck *b, const struct nrw_firing *firing)
{
    const struct nrw_range fresh = nrw_expands(b->run->model, b->stage, firing);
    const int32_t mid = b->params->mid_channels;
    int32_t x1;

    for (int32_t x0 = firing->x0; x0 < firing->x1; x0 = x1) {
        x1 = nrw_lesser(x0 + b->params->col_tile, firing->x1);
        if (firing->y0 >= 0) {
            roll(b, firing->y0, x0, x1, fresh);
        } else {
            const int32_t left = nrw_reached(&b->window, x0, b->width);
            expand(b, fresh.lo, left, nrw_reached(&b->window, x1, b->width), 0, (uint32_t)mid,
                   kept_row(b, fresh.lo, left));
        }
    }
}

void nrw_bottleneck_compute(const struct nrw_run *run, const struct nrw_stage *stage,
                            const struct nrw_firing *firing)
{
    struct bottleneck b;

    prepare(&b, run, stage);
    if (nrw_rolls(stage)) {
        rolling(&b, firing);
    } else {
        tiled(&b, firing);
    }
}
