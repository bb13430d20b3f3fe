/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operators with a window: convolutions, pools, means.
 */
#include <string.h>

#include "stage.h"

/* A window over rows of the input, which point to column `origin`. */
static struct nrw_window window_of(const struct nrw_geometry *geometry,
                                   const struct nrw_tensor *in, const int8_t *const *rows,
                                   int32_t origin)
{
    struct nrw_window window;

    window.rows = rows;
    window.origin = origin;
    window.in_width = in->width;
    window.pixel_stride = in->channels;
    window.kernel_h = geometry->kernel_h;
    window.kernel_w = geometry->kernel_w;
    window.stride_w = geometry->stride_w;
    window.dilation_w = geometry->dilation_w;
    window.pad_left = geometry->pad_left;
    return window;
}

/* The window over the pixels of the input that the firing needs. rows: room for kernel_h
 * pointers. */
static struct nrw_window gather(const struct nrw_run *run, const struct nrw_stage *stage,
                                const struct nrw_geometry *geometry,
                                const struct nrw_firing *firing, const int8_t **rows)
{
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, 0);
    const struct nrw_axis axis = nrw_columns_of(geometry);
    const struct nrw_range columns = nrw_covered(&axis, firing->x0, firing->x1, in->width);
    int32_t row = firing->y0 * geometry->stride_h - geometry->pad_top;

    for (uint32_t i = 0; i < geometry->kernel_h; i++, row += geometry->dilation_h) {
        rows[i] = row >= 0 && row < in->height
                      ? nrw_segment(run, stage, 0, row, columns.lo, columns.hi)
                      : NULL;
    }
    return window_of(geometry, in, rows, columns.lo);
}

void nrw_stage_conv(const struct nrw_run *run, const struct nrw_stage *stage,
                    const struct nrw_firing *firing)
{
    const struct nrw_model *model = run->model;
    const struct nrw_filter_params *params = nrw_at(model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    const int8_t *rows[NRW_MAX_KERNEL_H];
    const struct nrw_window window = gather(run, stage, &params->geometry, firing, rows);
    struct nrw_conv_op conv;

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

void nrw_stage_depthwise(const struct nrw_run *run, const struct nrw_stage *stage,
                         const struct nrw_firing *firing)
{
    const struct nrw_model *model = run->model;
    const struct nrw_filter_params *params = nrw_at(model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    const int8_t *rows[NRW_MAX_KERNEL_H];
    const struct nrw_window window = gather(run, stage, &params->geometry, firing, rows);
    struct nrw_depthwise_op depthwise;

    depthwise.weights = nrw_at(model, params->weights);
    depthwise.channels = nrw_at(model, params->channels);
    depthwise.weight_stride = out->channels;
    depthwise.out_channels = out->channels;
    depthwise.depth_multiplier = params->geometry.depth_multiplier;
    depthwise.in_zero_point = in->zero_point;
    depthwise.out_zero_point = out->zero_point;
    depthwise.act_min = params->geometry.act_min;
    depthwise.act_max = params->geometry.act_max;
    nrw_depthwise(&depthwise, &window, firing->x0, firing->x1,
                  nrw_out(run, out, firing->y0, firing->x0), out->channels,
                  nrw_arena(run, stage->scratch_offset));
}

void nrw_stage_max_pool(const struct nrw_run *run, const struct nrw_stage *stage,
                        const struct nrw_firing *firing)
{
    const struct nrw_geometry *geometry = nrw_at(run->model, stage->params);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    const int8_t *rows[NRW_MAX_KERNEL_H];
    const struct nrw_window window = gather(run, stage, geometry, firing, rows);

    nrw_max_pool(out->channels, geometry->act_min, geometry->act_max, &window, firing->x0,
                 firing->x1, nrw_out(run, out, firing->y0, firing->x0), out->channels);
}

/* A run of the input into the sums; after the last one, the output. columns: the window's. */
static void accumulate(const struct nrw_run *run, const struct nrw_stage *stage,
                       const struct nrw_firing *firing, const struct nrw_average_op *average,
                       const struct nrw_geometry *columns)
{
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    int32_t *sums = (void *)nrw_arena(run, stage->state_offset);
    const int8_t *const row = nrw_segment(run, stage, 0, firing->y0, firing->x0, firing->x1);
    const struct nrw_window whole = window_of(columns, in, &row, 0);
    struct nrw_window window = whole;

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
    if (firing->is_last) {
        nrw_average_finish(average, &whole, in->height, 0, out->width, sums,
                           nrw_out(run, out, 0, 0), out->channels);
    }
}

void nrw_stage_avg_pool(const struct nrw_run *run, const struct nrw_stage *stage,
                        const struct nrw_firing *firing)
{
    const struct nrw_geometry *geometry = nrw_at(run->model, stage->params);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    const int8_t *rows[NRW_MAX_KERNEL_H];
    struct nrw_average_op average = {0};

    average.channels = out->channels;
    average.act_min = geometry->act_min;
    average.act_max = geometry->act_max;
    if (stage->flags & NRW_ACCUMULATES) {
        accumulate(run, stage, firing, &average, geometry);
    } else {
        const struct nrw_window window = gather(run, stage, geometry, firing, rows);
        nrw_average(&average, &window, firing->x0, firing->x1,
                    nrw_out(run, out, firing->y0, firing->x0), out->channels);
    }
}

void nrw_stage_mean(const struct nrw_run *run, const struct nrw_stage *stage,
                    const struct nrw_firing *firing)
{
    const struct nrw_mean_params *params = nrw_at(run->model, stage->params);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    /* The mean over the width is a window as wide as the row. */
    struct nrw_geometry row = {.kernel_h = 1, .kernel_w = 1, .stride_h = 1, .stride_w = 1,
                               .dilation_h = 1, .dilation_w = 1};
    const int8_t *rows[1];
    struct nrw_average_op average;

    if (params->over_width) {
        row.kernel_w = nrw_input_of(run->model, stage, 0)->width;
    }
    average.channels = out->channels;
    average.requantize = 1;
    average.mean = params->sum;
    average.out_zero_point = out->zero_point;
    average.act_min = INT8_MIN;
    average.act_max = INT8_MAX;
    if (params->over_height) {
        accumulate(run, stage, firing, &average, &row);
    } else {
        const struct nrw_window window = gather(run, stage, &row, firing, rows);
        nrw_average(&average, &window, firing->x0, firing->x1,
                    nrw_out(run, out, firing->y0, firing->x0), out->channels);
    }
}
