/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RESHAPE: the same elements in rows of another length.
 */
#include "../src/check.h"
#include "../src/stage.h"
#include "operator.h"

NRW_COLD static int check(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    const uint64_t in_bytes = (uint64_t)in->height * nrw_row_bytes(in);
    const uint64_t out_bytes = (uint64_t)out->height * nrw_row_bytes(out);

    REQUIRE(in_bytes == out_bytes && in_bytes <= UINT32_MAX, stage->output);
    return NRW_OK;
}

static struct nrw_range needs(const struct nrw_model *model, const struct nrw_stage *stage,
                              uint32_t input, const struct nrw_firing *firing)
{
    const struct nrw_tensor *in = nrw_input_of(model, stage, input);
    const uint32_t in_bytes = nrw_row_bytes(in);
    const uint32_t out_bytes = nrw_row_bytes(nrw_output_of(model, stage));
    const uint32_t row = (uint32_t)firing->y0;
    struct nrw_range pixels;

    pixels.lo = (int32_t)(row * out_bytes / in_bytes) * in->width;
    pixels.hi = (int32_t)(((row + 1) * out_bytes - 1) / in_bytes + 1) * in->width;
    return pixels;
}

static void compute(const struct nrw_run *run, const struct nrw_stage *stage,
                    const struct nrw_firing *firing)
{
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    const uint32_t in_bytes = nrw_row_bytes(in);
    uint32_t left = nrw_row_bytes(out);
    uint32_t at = (uint32_t)firing->y0 * left;
    int8_t *to = nrw_out(run, out, firing->y0, 0);

    while (left > 0) {
        const uint32_t column = at % in_bytes;
        const uint32_t count = left < in_bytes - column ? left : in_bytes - column;
        memmove(to, nrw_segment(run, stage, 0, (int32_t)(at / in_bytes), 0, in->width) + column,
                count);
        to += count;
        at += count;
        left -= count;
    }
}

const struct nrw_operator nrw_operator_reshape = {
    .least_inputs = 1,
    .most_inputs = 1,
    .forms = 1u << NRW_SINGLE,
    .reads = NRW_READS_OTHERWISE,
    .check = check,
    .by_rows = nrw_always_by_rows,
    .needs = needs,
    .compute = compute,
};
