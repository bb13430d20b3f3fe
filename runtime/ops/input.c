/* SPDX-License-Identifier: Apache-2.0 */
/*
 * INPUT: the caller gives the next strip of a tensor.
 */
#include "../src/check.h"
#include "../src/firing.h"
#include "operator.h"

/* The caller gives as many pixels each time, which stand side by side. */
NRW_COLD static int check(struct nrw_model *model, const struct nrw_stage *stage)
{
    REQUIRE(nrw_is_even(nrw_output_of(model, stage), stage), stage->strip);
    return NRW_OK;
}

const struct nrw_operator nrw_operator_input = {
    .forms = 1u << NRW_SINGLE,
    .check = check,
    .reads = NRW_READS_OTHERWISE,
};
