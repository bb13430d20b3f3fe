/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RESIZE: nearest or bilinear sampling of rows and columns.
 */
#include "../src/check.h"
#include "../src/stage.h"
#include "operator.h"

NRW_COLD static int check_samples(struct nrw_model *model, const uint32_t *offset, uint32_t count,
                                  uint32_t limit)
{
    REQUIRE(nrw_in_body(model, *offset, (uint64_t)count * sizeof(struct nrw_sample), 4), *offset);
    const struct nrw_sample *samples = nrw_at(model, *offset);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t high = (uint32_t)samples[i].low + (samples[i].fraction != 0);
        REQUIRE(high < limit && (i == 0 || samples[i - 1].low <= samples[i].low),
                samples[i].low);
        REQUIRE(samples[i].fraction <= 1023, samples[i].fraction);
    }
    return NRW_OK;
}

NRW_COLD static int check(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_resize_params *params = nrw_at(model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(model, stage);

    REQUIRE(in->channels == out->channels, stage->output);
    TRY(check_samples(model, &params->rows, out->height, in->height));
    return check_samples(model, &params->cols, out->width, in->width);
}

static struct nrw_range needs(const struct nrw_model *model, const struct nrw_stage *stage,
                              uint32_t input, const struct nrw_firing *firing)
{
    const struct nrw_resize_params *params = nrw_at(model, stage->params);
    const struct nrw_sample *sample = nrw_at(model, params->rows);
    const int32_t width = nrw_input_of(model, stage, input)->width;
    struct nrw_range pixels;

    sample += firing->y0;
    pixels.lo = sample->low * width;
    pixels.hi = (sample->low + 1 + (sample->fraction != 0)) * width;
    return pixels;
}

static void compute(const struct nrw_run *run, const struct nrw_stage *stage,
                    const struct nrw_firing *firing)
{
    const struct nrw_resize_params *params = nrw_at(run->model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    const struct nrw_sample *sample = nrw_at(run->model, params->rows);

    sample += firing->y0;
    nrw_resize(nrw_segment(run, stage, 0, sample->low, 0, in->width),
               nrw_segment(run, stage, 0, sample->low + (sample->fraction != 0), 0, in->width),
               sample->fraction, nrw_at(run->model, params->cols), out->width, out->channels,
               nrw_strip_out(run, stage, firing));
}

const struct nrw_operator nrw_operator_resize = {
    .least_inputs = 1,
    .most_inputs = 1,
    .forms = 1u << NRW_SINGLE,
    .params_bytes = sizeof(struct nrw_resize_params),
    .reads = NRW_READS_OTHERWISE,
    .check = check,
    .by_rows = nrw_always_by_rows,
    .needs = needs,
    .compute = compute,
};
