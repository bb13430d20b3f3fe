/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LOOKUP: any function of one element, by a table of its 256 values.
 */
#include "../src/check.h"
#include "../src/stage.h"
#include "operator.h"

NRW_COLD static int check(struct nrw_model *model, const struct nrw_stage *stage)
{
    return nrw_check_table(model, stage, sizeof(int8_t));
}

static void compute(const struct nrw_run *run, const struct nrw_stage *stage,
                    const struct nrw_firing *firing)
{
    const struct nrw_table_params *params = nrw_at(run->model, stage->params);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);

    nrw_lookup(nrw_at(run->model, params->table),
               nrw_strip_in(run, stage, 0, firing),
               nrw_firing_pixels(firing) * out->channels, nrw_strip_out(run, stage, firing));
}

const struct nrw_operator nrw_operator_lookup = {
    .least_inputs = 1,
    .most_inputs = 1,
    .forms = 1u << NRW_SINGLE,
    .params_bytes = sizeof(struct nrw_table_params),
    .reads = NRW_READS_PIXELS,
    .check = check,
    .compute = compute,
};
