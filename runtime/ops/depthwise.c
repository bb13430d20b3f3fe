/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DEPTHWISE: each output channel from one input channel. Folded, one of 3x3 and stride 2 keeps one
 * row of its input instead of two.
 */
#include <string.h>

#include "../src/check.h"
#include "../src/sizes.h"
#include "../src/stage.h"
#include "operator.h"

NRW_COLD static int check_folded(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_geometry *geometry = nrw_at(model, stage->params);

    REQUIRE(geometry->kernel_h == 3, geometry->kernel_h);
    REQUIRE(geometry->kernel_w == 3, geometry->kernel_w);
    REQUIRE(geometry->stride_h == 2, geometry->stride_h);
    REQUIRE(geometry->stride_w == 2, geometry->stride_w);
    REQUIRE(geometry->dilation_h == 1, geometry->dilation_h);
    REQUIRE(geometry->dilation_w == 1, geometry->dilation_w);
    REQUIRE(geometry->pad_top < 3, geometry->pad_top);
    REQUIRE(geometry->pad_left < 3, geometry->pad_left);
    REQUIRE(geometry->depth_multiplier == 1, geometry->depth_multiplier);
    return NRW_OK;
}

NRW_COLD static int check(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_filter_params *filter = nrw_at(model, stage->params);
    const uint32_t channels = nrw_output_of(model, stage)->channels;
    const uint32_t multiplier = filter->geometry.depth_multiplier;

    if (nrw_is_form(stage, NRW_FOLDED)) {
        TRY(check_folded(model, stage));
    }
    REQUIRE(multiplier > 0 && multiplier * nrw_input_of(model, stage, 0)->channels == channels,
            filter->geometry.depth_multiplier);
    return nrw_check_depthwise(model, filter, channels);
}

static struct nrw_windows windows(const struct nrw_model *model, const struct nrw_stage *stage,
                                  uint32_t input)
{
    const struct nrw_geometry *geometry = nrw_at(model, stage->params);
    struct nrw_windows windows = {nrw_rows_of(geometry), nrw_columns_of(geometry)};

    (void)input;
    if (nrw_is_form(stage, NRW_FOLDED)) {
        /* It takes the input row by row. */
        windows.rows.stride = 1;
        windows.rows.span = 1;
    }
    return windows;
}

/* A row of firings for each row of the windows, of which neighbours share one. */
static uint32_t firing_rows(const struct nrw_model *model, const struct nrw_stage *stage)
{
    return 2u * nrw_output_of(model, stage)->height + 1u;
}

static void firing_of(struct nrw_firing *firing, const struct nrw_model *model,
                      const struct nrw_stage *stage, int32_t row)
{
    const int32_t width = nrw_output_of(model, stage)->width;
    const int32_t before = row > 0 ? (row - 1) / 2 * width : 0;
    const bool completes = row > 0 && row % 2 == 0;

    firing->y0 = row;
    firing->y1 = row + 1;
    firing->given = (uint32_t)(before + (completes ? firing->x1 : 0));
}

NRW_COLD static struct nrw_sizes sizes(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_geometry *geometry = nrw_at(model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    struct nrw_sizes sizes = {0, 0};

    if (nrw_is_form(stage, NRW_FOLDED)) {
        sizes.state = nrw_folded_depthwise_state_bytes(in->width, out->width, geometry->pad_left,
                                                       out->channels);
    } else {
        sizes.scratch = nrw_depthwise_scratch_bytes(nrw_header_of(model)->layout,
                                                    geometry->kernel_h, geometry->kernel_w,
                                                    out->channels);
    }
    return sizes;
}

NRW_COLD static struct nrw_work work(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    const uint64_t taps = nrw_taps_of(nrw_at(model, stage->params));
    /* The folded firing that adds up six of the nine products does the most. */
    const uint64_t most = nrw_is_form(stage, NRW_FOLDED) ? 6 : taps;
    const struct nrw_work work = {taps * out->channels * nrw_pixels(out),
                                  (most + 1) * out->channels * stage->strip, 1};

    return work;
}

#ifdef NARROWS_PLANNING
/* A folded window's first row is only kept, the third completes it. */
static uint64_t macs(const struct nrw_model *model, const struct nrw_stage *stage,
                     const struct nrw_firing *firing)
{
    uint64_t taps = nrw_taps_of(nrw_at(model, stage->params));

    if (nrw_is_form(stage, NRW_FOLDED)) {
        taps = firing->y0 == 0 ? 0 : firing->y0 % 2 == 0 ? 3 : 6;
    }
    return taps * nrw_output_of(model, stage)->channels * nrw_firing_pixels(firing);
}
#endif

static inline void depthwise_op_of(struct nrw_depthwise_op *depthwise,
                                   const struct nrw_model *model,
                                   const struct nrw_stage *stage)
{
    const struct nrw_filter_params *params = nrw_at(model, stage->params);
    const struct nrw_tensor *out = nrw_output_of(model, stage);

    depthwise->weights = nrw_at(model, params->weights);
    depthwise->channels = nrw_at(model, params->channels);
    depthwise->out_channels = out->channels;
    depthwise->depth_multiplier = params->geometry.depth_multiplier;
    depthwise->in_zero_point = nrw_input_of(model, stage, 0)->zero_point;
    depthwise->out_zero_point = out->zero_point;
    depthwise->act_min = params->geometry.act_min;
    depthwise->act_max = params->geometry.act_max;
    depthwise->most_shift = model->depthwise_shift;
}

static void compute_single(const struct nrw_run *run, const struct nrw_stage *stage,
                           const struct nrw_firing *firing)
{
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    const int8_t *rows[NRW_MAX_KERNEL_H];
    struct nrw_window window;
    struct nrw_depthwise_op depthwise;

    nrw_gather(&window, run, stage, nrw_at(run->model, stage->params), firing->y0, firing->x0,
               firing->x1, rows);
    depthwise_op_of(&depthwise, run->model, stage);
    run->model->kernels->depthwise(&depthwise, &window, firing->x0, firing->x1, 0, out->channels,
                                   nrw_strip_out(run, stage, firing), out->channels,
                                   nrw_arena(run, stage->scratch_offset));
}

/* The folded form keeps one row between windows of three rows and stride 2. It has the first row
 * of each window; the sums over that and the second row take its place; the third row completes
 * the outputs and is the first row of the next window. */
static void compute_folded(const struct nrw_run *run, const struct nrw_stage *stage,
                           const struct nrw_firing *firing)
{
    const struct nrw_model *model = run->model;
    const struct nrw_geometry *geometry = nrw_at(model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    const uint32_t channels = out->channels;
    const struct nrw_folded_depthwise_parts parts = nrw_folded_depthwise_parts(
        in->width, out->width, geometry->pad_left, channels, nrw_small_product);
    const struct nrw_folded folded = {
        .row = (int8_t *)nrw_arena(run, stage->state_offset),
        .highs = nrw_arena(run, stage->state_offset + parts.kept),
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
        nrw_window_over(&window, geometry, in, rows, columns.lo);
        depthwise_op_of(&depthwise, model, stage);
        if (is_second) {
            window.kernel_h = 2;
            rows[0] = row > 0 && row <= in->height ? kept : NULL;
            nrw_depthwise_fold(&depthwise, &window, firing->x0, firing->x1, &folded);
            return;
        }
        window.kernel_h = 1;
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

static void compute(const struct nrw_run *run, const struct nrw_stage *stage,
                    const struct nrw_firing *firing)
{
    if (nrw_is_form(stage, NRW_FOLDED)) {
        compute_folded(run, stage, firing);
    } else {
        compute_single(run, stage, firing);
    }
}

const struct nrw_operator nrw_operator_depthwise = {
    .least_inputs = 1,
    .most_inputs = 1,
    .forms = 1u << NRW_SINGLE | 1u << NRW_FOLDED,
    .params_bytes = sizeof(struct nrw_filter_params),
    .reads = NRW_READS_GEOMETRY,
    .check = check,
    .windows = windows,
    .firing_rows = firing_rows,
    .firing = firing_of,
    .sizes = sizes,
    .work = work,
    .compute = compute,
#ifdef NARROWS_PLANNING
    .macs = macs,
#endif
};
