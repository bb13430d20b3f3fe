/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inverted residual in one stage: expansion, depthwise, projection, residual add. The
 * expanded tensor never exists as a whole. Tiled, it is computed for one tile of the output
 * and one slice of its channels at a time, and the tile's halo again for the next tile.
 * Rolling, it goes by once: the last kernel_h - stride_h rows are kept, and of the rows that
 * arrive only as many columns exist as the run of outputs at hand needs.
 */
#include <string.h>

#include "blob.h"
#include "sizes.h"
#include "stage.h"

struct bottleneck {
    const struct nrw_run *run;
    const struct nrw_bottleneck_params *params;
    const struct nrw_tensor *in, *out;
    uint8_t flags;
    /* Scratch. */
    int8_t *expanded, *filtered;
    int32_t *sums;
    void *kernels;
    uint32_t columns; /* room in `expanded` */
};

static void prepare(struct bottleneck *b, const struct nrw_run *run,
                    const struct nrw_stage *stage)
{
    const struct nrw_bottleneck_shape shape = nrw_bottleneck_shape_of(run->model, stage);
    struct nrw_bottleneck_layout layout;
    uint8_t *scratch = run->arena + stage->scratch_offset;

    nrw_bottleneck_layout(&layout, nrw_header_of(run->model)->isa, &shape);
    b->run = run;
    b->params = nrw_at(run->model, stage->params);
    b->in = nrw_input_of(run->model, stage, 0);
    b->out = nrw_output_of(run->model, stage);
    b->flags = stage->flags;
    b->expanded = (int8_t *)scratch;
    scratch += layout.expanded;
    b->filtered = (int8_t *)scratch;
    scratch += layout.filtered;
    b->sums = (void *)scratch;
    scratch += layout.sums;
    b->kernels = layout.kernels > 0 ? scratch : NULL;
    b->columns = nrw_bottleneck_columns(&shape);
}

/* Columns [x0, x1) of an input row, channels [first, first + count) of the expansion, to
 * `out`, pixel after pixel. */
static void expand(const struct bottleneck *b, int32_t row, int32_t x0, int32_t x1,
                   uint32_t first, uint32_t count, int8_t *out)
{
    const struct nrw_pointwise_params *params = &b->params->expand;
    const int8_t *rows[1] = {nrw_row(b->run, b->in, row)};
    const struct nrw_window window = {rows, 0, b->in->width, b->in->channels, 1, 1, 1, 1, 0};
    struct nrw_conv_op conv;

    if (x0 >= x1) {
        return;
    }
    conv.weights =
        (const int8_t *)nrw_at(b->run->model, params->weights) + first * b->in->channels;
    conv.channels = (const struct nrw_channel *)nrw_at(b->run->model, params->channels) + first;
    conv.in_channels = b->in->channels;
    conv.out_channels = count;
    conv.in_zero_point = b->in->zero_point;
    conv.out_zero_point = b->params->expanded_zero_point;
    conv.act_min = params->act_min;
    conv.act_max = params->act_max;
    nrw_conv(&conv, &window, x0, x1, out, count, b->kernels);
}

/* Channels [first, first + count) of the depthwise. */
static void filter(const struct bottleneck *b, const struct nrw_window *window, int32_t x0,
                   int32_t x1, uint32_t first, uint32_t count, int8_t *out, uint32_t out_stride)
{
    const struct nrw_filter_params *params = &b->params->depthwise;
    struct nrw_depthwise_op depthwise;

    depthwise.weights = (const int8_t *)nrw_at(b->run->model, params->weights) + first;
    depthwise.channels =
        (const struct nrw_channel *)nrw_at(b->run->model, params->channels) + first;
    depthwise.weight_stride = b->params->mid_channels;
    depthwise.out_channels = count;
    depthwise.depth_multiplier = 1;
    depthwise.in_zero_point = b->params->expanded_zero_point;
    depthwise.out_zero_point = b->params->filtered_zero_point;
    depthwise.act_min = params->geometry.act_min;
    depthwise.act_max = params->geometry.act_max;
    nrw_depthwise(&depthwise, window, x0, x1, out, out_stride, b->kernels);
}

static struct nrw_conv_op projection(const struct bottleneck *b)
{
    const struct nrw_pointwise_params *params = &b->params->project;
    struct nrw_conv_op conv;

    conv.weights = nrw_at(b->run->model, params->weights);
    conv.channels = nrw_at(b->run->model, params->channels);
    conv.in_channels = b->params->mid_channels;
    conv.out_channels = b->out->channels;
    conv.in_zero_point = b->params->filtered_zero_point;
    conv.out_zero_point = b->params->projected_zero_point;
    conv.act_min = params->act_min;
    conv.act_max = params->act_max;
    return conv;
}

/* Add the input's pixels [x0, x1) of row y to the projection that stands in the output. */
static void add_input(const struct bottleneck *b, uint32_t y, int32_t x0, int32_t x1)
{
    const uint32_t channels = b->out->channels;
    const uint32_t offset = (uint32_t)x0 * channels;
    int8_t *out = nrw_out_row(b->run, b->out, y) + offset;
    const struct nrw_operand a = {out, channels, 1};
    const struct nrw_operand residual = {nrw_row(b->run, b->in, (int32_t)y) + offset, channels,
                                         1};
    struct nrw_elementwise_op op;

    if ((b->flags & NRW_ADD_INPUT) == 0) {
        return;
    }
    nrw_elementwise_op_of(&op, &b->params->add);
    op.a_zero_point = b->params->projected_zero_point;
    op.b_zero_point = b->in->zero_point;
    op.out_zero_point = b->out->zero_point;
    nrw_elementwise(&op, &a, &residual, (uint32_t)(x1 - x0), channels, out);
}

/* The depthwise's window but for its rows. */
static struct nrw_window depthwise_window(const struct bottleneck *b, const int8_t **rows)
{
    const struct nrw_geometry *geometry = &b->params->depthwise.geometry;
    struct nrw_window window;

    window.rows = rows;
    window.origin = 0;
    window.in_width = b->in->width;
    window.pixel_stride = 0;
    window.kernel_h = geometry->kernel_h;
    window.kernel_w = geometry->kernel_w;
    window.stride_w = geometry->stride_w;
    window.dilation_w = 1;
    window.pad_left = geometry->pad_left;
    return window;
}

/* Input columns [left, right) that the windows of output columns [x0, x1) reach. */
static int32_t left_of(const struct bottleneck *b, int32_t x0)
{
    const struct nrw_geometry *geometry = &b->params->depthwise.geometry;

    return nrw_clip(x0 * geometry->stride_w - geometry->pad_left, b->in->width);
}

static int32_t right_of(const struct bottleneck *b, int32_t x1)
{
    const struct nrw_geometry *geometry = &b->params->depthwise.geometry;

    return nrw_clip((x1 - 1) * geometry->stride_w - geometry->pad_left + geometry->kernel_w,
                    b->in->width);
}

static int32_t lesser(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* --- Tiled ------------------------------------------------------------------------------- */

/* Channels [first, first + count) of output rows [y0, y1), columns [x0, x1): into the sums,
 * or without a projection into the output. expanded: input rows of the whole tile. */
static void tile_slice(const struct bottleneck *b, uint32_t y0, uint32_t y1, int32_t x0,
                       int32_t x1, struct nrw_rows expanded, uint32_t first, uint32_t count)
{
    const struct nrw_geometry *geometry = &b->params->depthwise.geometry;
    const uint32_t mid = b->params->mid_channels;
    const int32_t left = left_of(b, x0);
    const int32_t right = right_of(b, x1);
    const int32_t pitch = (right - left) * (int32_t)count;
    const int8_t *rows[NRW_MAX_KERNEL_H];
    struct nrw_window window = depthwise_window(b, rows);
    const bool has_expand = (b->flags & NRW_EXPAND) != 0;

    if (has_expand) {
        window.origin = left;
        window.pixel_stride = count;
        for (int32_t row = expanded.lo; row < expanded.hi; row++) {
            expand(b, row, left, right, first, count,
                   b->expanded + (row - expanded.lo) * pitch);
        }
    } else {
        window.pixel_stride = mid;
    }
    for (uint32_t y = y0; y < y1; y++) {
        int32_t row = (int32_t)y * geometry->stride_h - geometry->pad_top;
        for (uint32_t i = 0; i < geometry->kernel_h; i++, row++) {
            if (row < expanded.lo || row >= expanded.hi) {
                rows[i] = NULL;
            } else if (has_expand) {
                rows[i] = b->expanded + (row - expanded.lo) * pitch;
            } else {
                rows[i] = nrw_row(b->run, b->in, row) + first;
            }
        }
        if ((b->flags & NRW_PROJECT) == 0) {
            filter(b, &window, x0, x1, first, count,
                   nrw_out_row(b->run, b->out, y) + (uint32_t)x0 * mid + first, mid);
            continue;
        }
        const uint32_t pixels = (uint32_t)(x1 - x0);
        const int8_t *weights = nrw_at(b->run->model, b->params->project.weights);
        filter(b, &window, x0, x1, first, count, b->filtered, count);
        nrw_conv_accumulate(weights + first, mid, b->filtered, count, count, pixels,
                            b->out->channels, b->sums + (y - y0) * pixels * b->out->channels);
    }
}

static void tiled(const struct bottleneck *b, const struct nrw_stage *stage, uint32_t firing)
{
    const uint32_t y0 = firing * stage->row_tile;
    const uint32_t y1 = nrw_gives(b->run->model, stage, firing);
    const struct nrw_rows expanded = nrw_expands(b->run->model, stage, firing);
    const uint32_t mid = b->params->mid_channels;
    const uint32_t slice = b->params->slice;
    const uint32_t out_channels = b->out->channels;

    for (int32_t x0 = 0; x0 < b->out->width; x0 += b->params->col_tile) {
        const int32_t x1 = lesser(x0 + b->params->col_tile, b->out->width);
        const uint32_t pixels = (uint32_t)(x1 - x0);
        const struct nrw_conv_op project = projection(b);

        if (b->flags & NRW_PROJECT) {
            memset(b->sums, 0, (y1 - y0) * pixels * out_channels * sizeof *b->sums);
        }
        for (uint32_t first = 0; first < mid; first += slice) {
            tile_slice(b, y0, y1, x0, x1, expanded, first,
                       slice < mid - first ? slice : mid - first);
        }
        for (uint32_t y = y0; b->flags & NRW_PROJECT && y < y1; y++) {
            nrw_conv_finish(&project, b->sums + (y - y0) * pixels * out_channels, pixels,
                            nrw_out_row(b->run, b->out, y) + (uint32_t)x0 * out_channels,
                            out_channels);
            add_input(b, y, x0, x1);
        }
    }
}

/* --- Rolling ----------------------------------------------------------------------------- */

/* From depthwise window to finished outputs [x0, x1) of row y. */
static void finish_run(const struct bottleneck *b, const struct nrw_window *window, uint32_t y,
                       int32_t x0, int32_t x1)
{
    const uint32_t mid = b->params->mid_channels;
    int8_t *out = nrw_out_row(b->run, b->out, y) + (uint32_t)x0 * b->out->channels;

    if ((b->flags & NRW_PROJECT) == 0) {
        filter(b, window, x0, x1, 0, mid, out, mid);
        return;
    }
    const int8_t *rows[1] = {b->filtered};
    const struct nrw_window pixels = {rows, x0, b->out->width, mid, 1, 1, 1, 1, 0};
    const struct nrw_conv_op project = projection(b);

    filter(b, window, x0, x1, 0, mid, b->filtered, mid);
    nrw_conv(&project, &pixels, x0, x1, out, b->out->channels, b->kernels);
    add_input(b, y, x0, x1);
}

static void rolling(const struct bottleneck *b, const struct nrw_stage *stage, uint32_t firing)
{
    const struct nrw_geometry *geometry = &b->params->depthwise.geometry;
    const int32_t mid = b->params->mid_channels;
    const int32_t keep = geometry->kernel_h - geometry->stride_h;
    const int32_t kept_pitch = b->in->width * mid; /* kept row r is number r % keep */
    const int32_t pitch = (int32_t)b->columns * mid;
    const struct nrw_rows fresh = nrw_expands(b->run->model, stage, firing);
    const int32_t absorbed = nrw_absorbed(b->run->model, stage);
    int8_t *kept = (int8_t *)b->run->arena + stage->state_offset;
    const int8_t *rows[NRW_MAX_KERNEL_H];
    struct nrw_window window = depthwise_window(b, rows);

    if ((int32_t)firing < absorbed) {
        expand(b, fresh.lo, 0, right_of(b, b->out->width), 0, (uint32_t)mid,
               kept + fresh.lo % keep * kept_pitch);
        return;
    }
    const int32_t y = (int32_t)firing - absorbed;
    const int32_t top = y * geometry->stride_h - geometry->pad_top;
    int32_t first = 0; /* `expanded` holds columns [first, end) of the fresh rows */
    int32_t end = 0;

    window.pixel_stride = (uint32_t)mid;
    for (int32_t x0 = 0; x0 < b->out->width; x0 += b->params->col_tile) {
        const int32_t x1 = lesser(x0 + b->params->col_tile, b->out->width);
        const int32_t right = right_of(b, x1);
        for (int32_t row = fresh.lo; row < fresh.hi; row++) {
            expand(b, row, end, right, 0, (uint32_t)mid,
                   b->expanded + (row - fresh.lo) * pitch + (end - first) * mid);
        }
        end = right;

        window.origin = first;
        for (int32_t i = 0; i < geometry->kernel_h; i++) {
            const int32_t row = top + i;
            if (row < 0 || row >= b->in->height) {
                rows[i] = NULL;
            } else if (row < fresh.lo) {
                rows[i] = kept + row % keep * kept_pitch + first * mid;
            } else {
                rows[i] = b->expanded + (row - fresh.lo) * pitch;
            }
        }
        finish_run(b, &window, (uint32_t)y, x0, x1);

        /* Columns that the next run does not need replace those of rows that die. */
        const int32_t next = x1 < b->out->width ? lesser(left_of(b, x1), end) : end;
        for (int32_t row = fresh.lo; row < fresh.hi; row++) {
            int8_t *columns = b->expanded + (row - fresh.lo) * pitch;
            if (row >= top + geometry->stride_h) {
                memmove(kept + row % keep * kept_pitch + first * mid, columns,
                        (size_t)((next - first) * mid));
            }
            memmove(columns, columns + (next - first) * mid, (size_t)((end - next) * mid));
        }
        first = next;
    }
}

void nrw_stage_bottleneck(const struct nrw_run *run, const struct nrw_stage *stage,
                          uint32_t firing)
{
    struct bottleneck b;

    prepare(&b, run, stage);
    if (stage->flags & NRW_ROLLING) {
        rolling(&b, stage, firing);
    } else {
        tiled(&b, stage, firing);
    }
}
