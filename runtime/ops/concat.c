/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CONCAT: up to four tensors one behind the other along an axis.
 */
#include "../src/check.h"
#include "../src/stage.h"
#include "operator.h"

NRW_COLD static int check(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_concat_params *params = nrw_at(model, stage->params);
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    int32_t sum = 0;

    REQUIRE(params->axis <= 2, params->axis);
    REQUIRE(nrw_all_zero(params->reserved, sizeof params->reserved), params->reserved);
    for (uint32_t i = 0; i < stage->input_count; i++) {
        const struct nrw_tensor *in = nrw_input_of(model, stage, i);

        for (uint32_t axis = 0; axis <= 2; axis++) {
            REQUIRE(axis == params->axis || nrw_length(in, axis) == nrw_length(out, axis),
                    stage->inputs[i]);
        }
        sum += nrw_length(in, params->axis);
    }
    REQUIRE(sum == nrw_length(out, params->axis), stage->output);
    return NRW_OK;
}

static bool by_rows(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_concat_params *params = nrw_at(model, stage->params);

    return params->axis == 1;
}

static struct nrw_windows windows(const struct nrw_model *model, const struct nrw_stage *stage,
                                  uint32_t input)
{
    const struct nrw_concat_params *params = nrw_at(model, stage->params);
    struct nrw_windows windows = {{1, 0, 1}, {1, 0, 1}};

    for (uint32_t i = 0; params->axis == 0 && i < input; i++) {
        windows.rows.pad += nrw_input_of(model, stage, i)->height;
    }
    if (params->axis == 1) {
        windows.columns = nrw_all_of(nrw_input_of(model, stage, input)->width);
    }
    return windows;
}

static void compute(const struct nrw_run *run, const struct nrw_stage *stage,
                    const struct nrw_firing *firing)
{
    const struct nrw_concat_params *params = nrw_at(run->model, stage->params);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    int8_t *to = nrw_strip_out(run, stage, firing);

    for (uint32_t i = 0; i < stage->input_count; i++) {
        const struct nrw_tensor *in = nrw_input_of(run->model, stage, i);
        if (params->axis == 2) {
            nrw_move(nrw_strip_in(run, stage, i, firing), in->channels, 1,
                     nrw_firing_pixels(firing), in->channels, to, out->channels);
            to += in->channels;
        } else if (nrw_move_strip(run, stage, i, firing, to, out->channels)) {
            to += nrw_row_bytes(in);
        }
    }
}

const struct nrw_operator nrw_operator_concat = {
    .least_inputs = 2,
    .most_inputs = 4,
    .forms = 1u << NRW_SINGLE,
    .params_bytes = sizeof(struct nrw_concat_params),
    .reads = NRW_READS_PIXELS,
    .check = check,
    .by_rows = by_rows,
    .windows = windows,
    .compute = compute,
};
