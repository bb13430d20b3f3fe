/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PAD: a constant around the input, on any axis.
 */
#include "../src/check.h"
#include "../src/stage.h"
#include "operator.h"

NRW_COLD static int check(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_pad_params *params = nrw_at(model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    for (uint32_t i = 0; i < 3; i++) {
        REQUIRE(params->before[i] + nrw_length(in, i) <= nrw_length(out, i), params->before[i]);
    }
    REQUIRE(params->reserved == 0, params->reserved);
    return NRW_OK;
}

static struct nrw_windows windows(const struct nrw_model *model, const struct nrw_stage *stage,
                                  uint32_t input)
{
    const struct nrw_pad_params *params = nrw_at(model, stage->params);
    struct nrw_windows windows = {{1, 0, 1}, {0, 0, 0}};

    windows.rows.pad = params->before[0];
    windows.columns = nrw_all_of(nrw_input_of(model, stage, input)->width);
    return windows;
}

static void compute(const struct nrw_run *run, const struct nrw_stage *stage,
                    const struct nrw_firing *firing)
{
    const struct nrw_pad_params *params = nrw_at(run->model, stage->params);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    int8_t *to = nrw_strip_out(run, stage, firing);

    memset(to, params->value, nrw_row_bytes(out));
    (void)nrw_move_strip(run, stage, 0, firing,
               to + (uint32_t)params->before[1] * out->channels + params->before[2],
               out->channels);
}

const struct nrw_operator nrw_operator_pad = {
    .least_inputs = 1,
    .most_inputs = 1,
    .forms = 1u << NRW_SINGLE,
    .params_bytes = sizeof(struct nrw_pad_params),
    .reads = NRW_READS_OTHERWISE,
    .check = check,
    .by_rows = nrw_always_by_rows,
    .windows = windows,
    .compute = compute,
};
