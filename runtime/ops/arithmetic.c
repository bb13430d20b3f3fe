/* SPDX-License-Identifier: Apache-2.0 */
#include "arithmetic.h"

#include "../src/check.h"

NRW_COLD int nrw_check_arithmetic(struct nrw_model *model, const struct nrw_elementwise_params *params)
{
    REQUIRE(params->multiplier_a >= 0, params->multiplier_a);
    REQUIRE(params->multiplier_b >= 0, params->multiplier_b);
    REQUIRE(params->multiplier_out >= 0, params->multiplier_out);
    REQUIRE(nrw_good_shift(params->shift_a), params->shift_a);
    REQUIRE(nrw_good_shift(params->shift_b), params->shift_b);
    REQUIRE(nrw_good_shift(params->shift_out), params->shift_out);
    REQUIRE(params->left_shift <= 20, params->left_shift);
    REQUIRE(params->function <= NRW_SQUARED_DIFFERENCE, params->function);
    REQUIRE(nrw_all_zero(params->reserved, sizeof params->reserved), params->reserved);
    return nrw_check_clamp(model, &params->act_min, &params->act_max);
}

void nrw_elementwise_op_of(struct nrw_elementwise_op *op,
                           const struct nrw_elementwise_params *params)
{
    op->function = params->function;
    op->left_shift = params->left_shift;
    op->a_multiplier = params->multiplier_a;
    op->a_shift = params->shift_a;
    op->b_multiplier = params->multiplier_b;
    op->b_shift = params->shift_b;
    op->out_multiplier = params->multiplier_out;
    op->out_shift = params->shift_out;
    op->act_min = params->act_min;
    op->act_max = params->act_max;
}

void nrw_arithmetic_of(struct nrw_elementwise_op *op, const struct nrw_model *model,
                       const struct nrw_stage *stage)
{
    nrw_elementwise_op_of(op, nrw_at(model, stage->params));
    op->a_zero_point = nrw_input_of(model, stage, 0)->zero_point;
    op->b_zero_point = nrw_input_of(model, stage, 1)->zero_point;
    op->out_zero_point = nrw_output_of(model, stage)->zero_point;
}
