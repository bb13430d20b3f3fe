/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MATMUL: each pixel of one tensor times a matrix, whose columns are pixels of another. Either all
 * of the other is one matrix, or each row of it is the matrix for the pixels of one row.
 */
#include "../src/check.h"
#include "../src/stage.h"
#include "arithmetic.h"
#include "operator.h"

/* Whether all pixels are multiplied by the same matrix. */
static bool has_one(const struct nrw_model *model, const struct nrw_stage *stage)
{
    return nrw_pixels(nrw_input_of(model, stage, 1)) == nrw_output_of(model, stage)->channels;
}

NRW_COLD static int check(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_elementwise_params *params = nrw_at(model, stage->params);
    const struct nrw_tensor *a = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *b = nrw_input_of(model, stage, 1);
    const struct nrw_tensor *out = nrw_output_of(model, stage);

    REQUIRE(params->function == NRW_MUL, params->function);
    REQUIRE(a->height == out->height && a->width == out->width, stage->output);
    REQUIRE(a->channels == b->channels &&
                (has_one(model, stage) ||
                 (b->height == out->height && b->width == out->channels)),
            stage->inputs[1]);
    return nrw_check_arithmetic(model, params);
}

static struct nrw_windows windows(const struct nrw_model *model, const struct nrw_stage *stage,
                                  uint32_t input)
{
    const struct nrw_tensor *in = nrw_input_of(model, stage, input);
    struct nrw_windows windows = {{1, 0, 1}, {1, 0, 1}};

    if (input == 1) {
        windows.columns = nrw_all_of(in->width);
        if (has_one(model, stage)) {
            windows.rows = nrw_all_of(in->height);
        }
    }
    return windows;
}

/* Products of one pixel; both numbers have 16 bits. */
static uint32_t products(const struct nrw_model *model, const struct nrw_stage *stage)
{
    return (uint32_t)nrw_output_of(model, stage)->channels *
           nrw_input_of(model, stage, 0)->channels;
}

NRW_COLD static struct nrw_work work(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    const uint32_t macs = products(model, stage);
    /* macs + channels is at most 65535 * 65536. */
    const struct nrw_work work = {(uint64_t)macs * nrw_pixels(out),
                                  (uint64_t)(macs + out->channels) * stage->strip, 1};

    return work;
}

#ifdef NARROWS_PLANNING
static uint64_t macs(const struct nrw_model *model, const struct nrw_stage *stage,
                     const struct nrw_firing *firing)
{
    return (uint64_t)products(model, stage) * nrw_firing_pixels(firing);
}
#endif

static void compute(const struct nrw_run *run, const struct nrw_stage *stage,
                    const struct nrw_firing *firing)
{
    const struct nrw_model *model = run->model;
    struct nrw_elementwise_op op;
    /* The rows of one matrix are all needed at once, so its ring is whole and they follow each
     * other. */
    const int32_t row = has_one(model, stage) ? 0 : firing->y0;

    nrw_arithmetic_of(&op, model, stage);
    nrw_matmul(&op, nrw_strip_in(run, stage, 0, firing),
               nrw_segment(run, stage, 1, row, 0, nrw_input_of(model, stage, 1)->width),
               nrw_firing_pixels(firing), nrw_input_of(model, stage, 0)->channels,
               nrw_output_of(model, stage)->channels, nrw_strip_out(run, stage, firing));
}

const struct nrw_operator nrw_operator_matmul = {
    .least_inputs = 2,
    .most_inputs = 2,
    .forms = 1u << NRW_SINGLE,
    .params_bytes = sizeof(struct nrw_elementwise_params),
    .reads = NRW_READS_OTHERWISE,
    .check = check,
    .windows = windows,
    .work = work,
    .compute = compute,
#ifdef NARROWS_PLANNING
    .macs = macs,
#endif
};
