/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OUTPUT: the caller takes the next row of a tensor.
 */
#include "../src/check.h"
#include "operator.h"

/* The parameter is the number of the first output that is the stage's input; check_outputs sees to
 * it that none before it is. */
NRW_COLD static int check(struct nrw_model *model, const struct nrw_stage *stage)
{
    REQUIRE(stage->params < model->output_count &&
                nrw_outputs(model)[stage->params] == stage->inputs[0],
            stage->params);
    return NRW_OK;
}

const struct nrw_operator nrw_operator_output = {
    .least_inputs = 1,
    .most_inputs = 1,
    .forms = 1u << NRW_SINGLE,
    .reads = NRW_READS_OTHERWISE,
    .check = check,
    .by_rows = nrw_always_by_rows,
};
