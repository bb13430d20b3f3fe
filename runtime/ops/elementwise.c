/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ELEMENTWISE: the sum, difference, its square, product, maximum, minimum or PRELU of two tensors,
 * one of which may be broadcast along each axis.
 */
#include "../src/check.h"
#include "../src/stage.h"
#include "operator.h"
#include "arithmetic.h"

NRW_COLD static int check(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_tensor *out = nrw_output_of(model, stage);

    for (uint32_t i = 0; i < 2; i++) {
        for (uint32_t axis = 0; axis <= 2; axis++) {
            const int32_t length = nrw_length(nrw_input_of(model, stage, i), axis);
            REQUIRE(length == 1 || length == nrw_length(out, axis), stage->inputs[i]);
        }
    }
    return nrw_check_arithmetic(model, nrw_at(model, stage->params));
}

static struct nrw_windows windows(const struct nrw_model *model, const struct nrw_stage *stage,
                                  uint32_t input)
{
    const struct nrw_tensor *in = nrw_input_of(model, stage, input);
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    /* Along an axis of another length, which is 1, every position needs the only one. */
    const struct nrw_windows windows = {{in->height == out->height, 0, 1},
                                        {in->width == out->width, 0, 1}};

    return windows;
}

static inline struct nrw_operand operand_of(const struct nrw_run *run,
                                            const struct nrw_stage *stage, uint32_t i,
                                            const struct nrw_firing *firing)
{
    const struct nrw_tensor *tensor = nrw_input_of(run->model, stage, i);
    const bool is_column = tensor->width == 1;
    struct nrw_operand operand;

    operand.data = nrw_segment(run, stage, i, tensor->height == 1 ? 0 : firing->y0,
                               is_column ? 0 : firing->x0, is_column ? 1 : firing->x1);
    operand.pixel_stride = is_column ? 0 : tensor->channels;
    operand.channel_stride = tensor->channels != 1;
    return operand;
}

static void compute(const struct nrw_run *run, const struct nrw_stage *stage,
                    const struct nrw_firing *firing)
{
    const struct nrw_operand a = operand_of(run, stage, 0, firing);
    const struct nrw_operand b = operand_of(run, stage, 1, firing);
    struct nrw_elementwise_op op;

    nrw_arithmetic_of(&op, run->model, stage);
    nrw_elementwise(&op, &a, &b, nrw_firing_pixels(firing),
                    nrw_output_of(run->model, stage)->channels, nrw_strip_out(run, stage, firing));
}

const struct nrw_operator nrw_operator_elementwise = {
    .least_inputs = 2,
    .most_inputs = 2,
    .forms = 1u << NRW_SINGLE,
    .params_bytes = sizeof(struct nrw_elementwise_params),
    .reads = NRW_READS_PIXELS,
    .check = check,
    .windows = windows,
    .compute = compute,
};
