/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SLICE: every stride-th element of a part of each axis.
 */
#include "../src/check.h"
#include "../src/stage.h"
#include "operator.h"

NRW_COLD static int check(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_slice_params *params = nrw_at(model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    for (uint32_t i = 0; i < 3; i++) {
        REQUIRE(params->stride[i] > 0, params->stride[i]);
        REQUIRE(params->begin[i] < nrw_length(in, i) &&
                    (nrw_length(out, i) - 1) * (int64_t)params->stride[i] <
                        nrw_length(in, i) - params->begin[i],
                params->begin[i]);
    }
    return NRW_OK;
}

static struct nrw_windows windows(const struct nrw_model *model, const struct nrw_stage *stage,
                                  uint32_t input)
{
    const struct nrw_slice_params *params = nrw_at(model, stage->params);
    const struct nrw_windows windows = {{params->stride[0], -(int32_t)params->begin[0], 1},
                                        {params->stride[1], -(int32_t)params->begin[1], 1}};

    (void)input;
    return windows;
}

static void compute(const struct nrw_run *run, const struct nrw_stage *stage,
                    const struct nrw_firing *firing)
{
    const struct nrw_slice_params *params = nrw_at(run->model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    const int32_t y = params->begin[0] + firing->y0 * params->stride[0];
    const int32_t left = params->begin[1] + firing->x0 * params->stride[1];
    const int32_t right = params->begin[1] + (firing->x1 - 1) * params->stride[1] + 1;
    const int8_t *row = nrw_segment(run, stage, 0, y, left, right);

    nrw_move(row + params->begin[2], (uint32_t)params->stride[1] * in->channels,
             params->stride[2], stage->strip, out->channels,
             nrw_out(run, out, firing->y0, firing->x0), out->channels);
}

const struct nrw_operator nrw_operator_slice = {
    .least_inputs = 1,
    .most_inputs = 1,
    .forms = 1u << NRW_SINGLE,
    .params_bytes = sizeof(struct nrw_slice_params),
    .reads = NRW_READS_PIXELS,
    .check = check,
    .windows = windows,
    .compute = compute,
};
