/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MEAN: over the width of each row, or over height and perhaps width strip by strip.
 */
#include "../src/check.h"
#include "average.h"

NRW_COLD static int check(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_mean_params *params = nrw_at(model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(model, stage);

    REQUIRE(params->over_height == nrw_adds_up(stage), params->over_height);
    REQUIRE(params->over_width <= 1, params->over_width);
    REQUIRE(params->reserved == 0, params->reserved);
    REQUIRE(params->sum.multiplier >= 0, params->sum.multiplier);
    REQUIRE(nrw_good_shift(params->sum.shift), params->sum.shift);
    REQUIRE(out->height == (params->over_height ? 1 : in->height) &&
                out->width == (params->over_width ? 1 : in->width) &&
                out->channels == in->channels,
            stage->output);
    REQUIRE(!params->over_height || params->over_width || stage->strip == in->width,
            stage->strip);
    return NRW_OK;
}

static bool by_rows(const struct nrw_model *model, const struct nrw_stage *stage)
{
    (void)model;
    return !nrw_adds_up(stage);
}

static struct nrw_windows windows(const struct nrw_model *model, const struct nrw_stage *stage,
                                  uint32_t input)
{
    struct nrw_windows windows = {{1, 0, 1}, {1, 0, 1}};

    if (!nrw_adds_up(stage)) {
        windows.columns = nrw_all_of(nrw_input_of(model, stage, input)->width);
    }
    return windows;
}

NRW_COLD static struct nrw_work work(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_mean_params *params = nrw_at(model, stage->params);

    return nrw_average_work(model, stage, 1,
                            params->over_width ? nrw_input_of(model, stage, 0)->width : 1u);
}

static void compute(const struct nrw_run *run, const struct nrw_stage *stage,
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
    average.channels = out->channels;
    average.requantize = 1;
    average.mean = params->sum;
    average.out_zero_point = out->zero_point;
    average.act_min = INT8_MIN;
    average.act_max = INT8_MAX;
    nrw_average_strip(run, stage, firing, &average, &row);
}

const struct nrw_operator nrw_operator_mean = {
    .least_inputs = 1,
    .most_inputs = 1,
    .forms = 1u << NRW_SINGLE | 1u << NRW_ACCUMULATING,
    .params_bytes = sizeof(struct nrw_mean_params),
    .reads = NRW_READS_OTHERWISE,
    .check = check,
    .by_rows = by_rows,
    .windows = windows,
    .sizes = nrw_average_sizes,
    .work = work,
    .compute = compute,
};
