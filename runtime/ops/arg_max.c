/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ARG_MAX: for each pixel, the number of its greatest channel, the first if there are several, as an
 * i32 in four channels.
 */
#include "../src/check.h"
#include "../src/stage.h"
#include "operator.h"

NRW_COLD static int check(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(model, stage);

    REQUIRE(in->height == out->height && in->width == out->width &&
                out->channels == sizeof(uint32_t),
            stage->output);
    return NRW_OK;
}

NRW_COLD static struct nrw_work work(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const uint32_t channels = nrw_input_of(model, stage, 0)->channels;
    /* At most 65536 * 65535. */
    const struct nrw_work work = {0, (channels + 1) * stage->strip, 1};

    return work;
}

static void compute(const struct nrw_run *run, const struct nrw_stage *stage,
                    const struct nrw_firing *firing)
{
    /* Rings are aligned to 16 bytes, and a pixel has four. */
    nrw_arg_max(nrw_strip_in(run, stage, 0, firing), nrw_firing_pixels(firing),
                nrw_input_of(run->model, stage, 0)->channels,
                (void *)nrw_strip_out(run, stage, firing));
}

const struct nrw_operator nrw_operator_arg_max = {
    .least_inputs = 1,
    .most_inputs = 1,
    .forms = 1u << NRW_SINGLE,
    .reads = NRW_READS_PIXELS,
    .check = check,
    .work = work,
    .compute = compute,
};
