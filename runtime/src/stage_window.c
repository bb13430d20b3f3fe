/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operators with a window: convolutions, pools, means.
 */
#include <string.h>

#include "sizes.h"
#include "stage.h"

/* A window over rows of the input, which point to column `origin`. */
static inline void window_of(struct nrw_window *window, const struct nrw_geometry *geometry,
                             const struct nrw_tensor *in, const int8_t *const *rows,
                             int32_t origin)
{
    window->rows = rows;
    window->origin = origin;
    window->in_width = in->width;
    window->pixel_stride = in->channels;
    window->kernel_h = geometry->kernel_h;
    window->kernel_w = geometry->kernel_w;
    window->stride_w = geometry->stride_w;
    window->dilation_w = geometry->dilation_w;
    window->pad_left = geometry->pad_left;
}

void nrw_gather(struct nrw_window *window, const struct nrw_run *run,
                const struct nrw_stage *stage, const struct nrw_geometry *geometry, int32_t y,
                int32_t x0, int32_t x1, const int8_t **rows)
{
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, 0);
    const struct nrw_axis axis = nrw_columns_of(geometry);
    const struct nrw_range columns = nrw_covered(&axis, x0, x1, in->width);
    const int8_t *start = nrw_start_of(run, in);
    const uint32_t capacity = in->capacity;
    const uint32_t count = (uint32_t)(columns.hi - columns.lo);
    const uint32_t channels = in->channels;
    const int32_t height = in->height;
    int32_t row = y * geometry->stride_h - geometry->pad_top;

    for (uint32_t i = 0; i < geometry->kernel_h; i++, row += geometry->dilation_h) {
        rows[i] = NULL;
        if (row >= 0 && row < height) {
            const uint32_t pixel = (uint32_t)(row * in->width + columns.lo);
            const uint32_t slot = pixel < capacity ? pixel : pixel % capacity;
            rows[i] = start + slot * channels;
            if (slot + count > capacity) {
                rows[i] = nrw_mend(run, stage, 0, rows[i], count * channels);
            }
        }
    }
    window_of(window, geometry, in, rows, columns.lo);
}

void nrw_stage_conv(const struct nrw_run *run, const struct nrw_stage *stage,
                    const struct nrw_firing *firing)
{
    const struct nrw_model *model = run->model;
    const struct nrw_filter_params *params = nrw_at(model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    const int8_t *rows[NRW_MAX_KERNEL_H];
    struct nrw_window window;
    struct nrw_conv_op conv;

    if (nrw_is_pixelwise(model, stage, 0)) {
        rows[0] = nrw_segment(run, stage, 0, firing->y0, firing->x0, firing->x1);
        window_of(&window, &params->geometry, in, rows, firing->x0);
    } else {
        nrw_gather(&window, run, stage, &params->geometry, firing->y0, firing->x0, firing->x1,
                   rows);
    }
    conv.weights = nrw_at(model, params->weights);
    conv.channels = nrw_at(model, params->channels);
    conv.in_channels = in->channels;
    conv.out_channels = out->channels;
    conv.in_zero_point = in->zero_point;
    conv.out_zero_point = out->zero_point;
    conv.act_min = params->geometry.act_min;
    conv.act_max = params->geometry.act_max;
    nrw_conv(&conv, &window, firing->x0, firing->x1,
             nrw_out(run, out, firing->y0, firing->x0), out->channels,
             nrw_arena(run, stage->scratch_offset));
}

static inline void depthwise_op_of(struct nrw_depthwise_op *depthwise,
                                   const struct nrw_model *model,
                                   const struct nrw_stage *stage)
{
    const struct nrw_filter_params *params = nrw_at(model, stage->params);
    const struct nrw_tensor *out = nrw_output_of(model, stage);

    depthwise->weights = nrw_at(model, params->weights);
    depthwise->channels = nrw_at(model, params->channels);
    depthwise->weight_stride = out->channels;
    depthwise->out_channels = out->channels;
    depthwise->depth_multiplier = params->geometry.depth_multiplier;
    depthwise->in_zero_point = nrw_input_of(model, stage, 0)->zero_point;
    depthwise->out_zero_point = out->zero_point;
    depthwise->act_min = params->geometry.act_min;
    depthwise->act_max = params->geometry.act_max;
}

void nrw_stage_depthwise(const struct nrw_run *run, const struct nrw_stage *stage,
                         const struct nrw_firing *firing)
{
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    const int8_t *rows[NRW_MAX_KERNEL_H];
    struct nrw_window window;
    struct nrw_depthwise_op depthwise;

    nrw_gather(&window, run, stage, nrw_at(run->model, stage->params), firing->y0, firing->x0,
               firing->x1, rows);
    depthwise_op_of(&depthwise, run->model, stage);
    nrw_depthwise(&depthwise, &window, firing->x0, firing->x1,
                  nrw_out(run, out, firing->y0, firing->x0), out->channels,
                  nrw_arena(run, stage->scratch_offset));
}

/* A depthwise of three rows and stride 2 that keeps one row between its windows. Of each window
 * it has the first row; it adds up the second and that, in its place; the third completes the
 * outputs, and is the first of the next window. */
void nrw_stage_rolling_depthwise(const struct nrw_run *run, const struct nrw_stage *stage,
                                 const struct nrw_firing *firing)
{
    const struct nrw_model *model = run->model;
    const struct nrw_geometry *geometry = nrw_at(model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    const uint32_t channels = out->channels;
    const struct nrw_rolling_depthwise_layout layout = nrw_rolling_depthwise_layout(
        in->width, out->width, geometry->pad_left, channels, nrw_small_product);
    const struct nrw_folded folded = {
        .row = (int8_t *)nrw_arena(run, stage->state_offset),
        .highs = nrw_arena(run, stage->state_offset + layout.kept),
    };
    const struct nrw_axis axis = nrw_columns_of(geometry);
    const struct nrw_range columns = nrw_covered(&axis, firing->x0, firing->x1, in->width);
    int8_t *const kept = folded.row + (uint32_t)(columns.lo + geometry->pad_left) * channels;
    const int32_t row = firing->y0 - geometry->pad_top;
    const bool is_second = firing->y0 % 2 != 0;
    const int8_t *rows[2] = {NULL, NULL};
    const int8_t **fresh = &rows[is_second];
    struct nrw_window window;
    struct nrw_depthwise_op depthwise;

    if (row >= 0 && row < in->height) {
        *fresh = nrw_segment(run, stage, 0, row, columns.lo, columns.hi);
    }
    if (firing->y0 > 0) {
        window_of(&window, geometry, in, rows, columns.lo);
        depthwise_op_of(&depthwise, model, stage);
        if (is_second) {
            window.kernel_h = 2;
            rows[0] = row > 0 && row <= in->height ? kept : NULL;
            nrw_depthwise_fold(&depthwise, &window, firing->x0, firing->x1, &folded);
            return;
        }
        window.kernel_h = 1;
        depthwise.weights += 2u * geometry->kernel_w * channels;
        nrw_depthwise_unfold(&depthwise, &window, firing->x0, firing->x1, &folded,
                             nrw_out(run, out, firing->y0 / 2 - 1, firing->x0), channels);
    }
    if (*fresh != NULL) {
        const int32_t next = firing->x1 == out->width
                                 ? columns.hi : nrw_window_start(&axis, firing->x1, in->width);
        /* A false plan may let the kept row and the input's ring overlap. */
        memmove(kept, *fresh, (uint32_t)(next - columns.lo) * channels);
    }
}

void nrw_stage_max_pool(const struct nrw_run *run, const struct nrw_stage *stage,
                        const struct nrw_firing *firing)
{
    const struct nrw_geometry *geometry = nrw_at(run->model, stage->params);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    const int8_t *rows[NRW_MAX_KERNEL_H];
    struct nrw_window window;

    nrw_gather(&window, run, stage, geometry, firing->y0, firing->x0, firing->x1, rows);
    nrw_max_pool(out->channels, geometry->act_min, geometry->act_max, &window, firing->x0,
                 firing->x1, nrw_out(run, out, firing->y0, firing->x0), out->channels);
}

/* A run of the input into the sums. columns: the window's. */
static void add_run(const struct nrw_run *run, const struct nrw_stage *stage,
                    const struct nrw_firing *firing, const struct nrw_geometry *columns)
{
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    int32_t *sums = (void *)nrw_arena(run, stage->state_offset);
    const int8_t *const row = nrw_segment(run, stage, 0, firing->y0, firing->x0, firing->x1);
    struct nrw_window window;

    window_of(&window, columns, in, &row, 0);
    window.kernel_h = 1;
    if (stage->run < in->width) {
        /* Part of a row that one window covers altogether. */
        window.in_width = stage->run;
        window.kernel_w = stage->run;
    }
    if (firing->y0 == 0 && firing->x0 == 0) {
        memset(sums, 0, stage->state_bytes);
    }
    nrw_sum(out->channels, &window, 0, out->width, sums);
}

/* Averages: at once, or from the sums when the last run has come. */
static void average_of(const struct nrw_run *run, const struct nrw_stage *stage,
                       const struct nrw_firing *firing, const struct nrw_average_op *average,
                       const struct nrw_geometry *geometry)
{
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    const int8_t *rows[NRW_MAX_KERNEL_H];
    struct nrw_window window;

    if (nrw_accumulates(run->model, stage)) {
        window_of(&window, geometry, in, rows, 0);
        nrw_average_finish(average, &window, in->height, 0, out->width,
                           (const void *)nrw_arena(run, stage->state_offset),
                           nrw_out(run, out, 0, 0), out->channels);
    } else {
        nrw_gather(&window, run, stage, geometry, firing->y0, firing->x0, firing->x1, rows);
        nrw_average(average, &window, firing->x0, firing->x1,
                    nrw_out(run, out, firing->y0, firing->x0), out->channels);
    }
}

void nrw_stage_avg_pool(const struct nrw_run *run, const struct nrw_stage *stage,
                        const struct nrw_firing *firing)
{
    const struct nrw_geometry *geometry = nrw_at(run->model, stage->params);
    struct nrw_average_op average = {0};

    if ((stage->flags & NRW_ACCUMULATES) != 0) {
        add_run(run, stage, firing, geometry);
        if (!firing->is_last) {
            return;
        }
    }
    average.channels = nrw_output_of(run->model, stage)->channels;
    average.act_min = geometry->act_min;
    average.act_max = geometry->act_max;
    average_of(run, stage, firing, &average, geometry);
}

void nrw_stage_mean(const struct nrw_run *run, const struct nrw_stage *stage,
                    const struct nrw_firing *firing)
{
    const struct nrw_mean_params *params = nrw_at(run->model, stage->params);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    /* The mean over the width is a window as wide as the row. */
    struct nrw_geometry row = {.kernel_h = 1, .kernel_w = 1, .stride_h = 1, .stride_w = 1,
                               .dilation_h = 1, .dilation_w = 1};
    struct nrw_average_op average;

    if (params->over_width) {
        row.kernel_w = nrw_input_of(run->model, stage, 0)->width;
    }
    if (params->over_height) {
        add_run(run, stage, firing, &row);
        if (!firing->is_last) {
            return;
        }
    }
    average.channels = out->channels;
    average.requantize = 1;
    average.mean = params->sum;
    average.out_zero_point = out->zero_point;
    average.act_min = INT8_MIN;
    average.act_max = INT8_MAX;
    average_of(run, stage, firing, &average, &row);
}
