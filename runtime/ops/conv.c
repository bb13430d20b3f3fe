/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CONV: a convolution of any kernel, stride, dilation and padding.
 */
#include "../src/check.h"
#include "../src/sizes.h"
#include "../src/stage.h"
#include "operator.h"

NRW_COLD static int check(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_filter_params *filter = nrw_at(model, stage->params);

    return nrw_check_conv(model, filter, nrw_input_of(model, stage, 0)->channels,
                          nrw_output_of(model, stage)->channels);
}

NRW_COLD static struct nrw_sizes sizes(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_geometry *geometry = nrw_at(model, stage->params);
    const struct nrw_sizes sizes = {
        0, nrw_conv_scratch_bytes(nrw_header_of(model)->layout, geometry->kernel_h,
                                  geometry->kernel_w, nrw_input_of(model, stage, 0)->channels,
                                  nrw_output_of(model, stage)->channels, stage->strip)};

    return sizes;
}

NRW_COLD static struct nrw_work work(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    const uint64_t depth = nrw_taps_of(nrw_at(model, stage->params)) *
                           nrw_input_of(model, stage, 0)->channels;
    const struct nrw_work work = {depth * out->channels * nrw_pixels(out),
                                  (depth + 1) * out->channels * stage->strip, 1};

    return work;
}

#ifdef NARROWS_PLANNING
static uint64_t macs(const struct nrw_model *model, const struct nrw_stage *stage,
                     const struct nrw_firing *firing)
{
    (void)firing;
    return nrw_taps_of(nrw_at(model, stage->params)) * nrw_input_of(model, stage, 0)->channels *
           nrw_output_of(model, stage)->channels * stage->strip;
}
#endif

static void compute(const struct nrw_run *run, const struct nrw_stage *stage,
                    const struct nrw_firing *firing)
{
    const struct nrw_model *model = run->model;
    const struct nrw_filter_params *params = nrw_at(model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    const int8_t *rows[NRW_MAX_KERNEL_H];
    struct nrw_window window;
    struct nrw_conv_op conv;

    if (nrw_is_pixelwise(model, stage, 0)) {
        rows[0] = nrw_segment(run, stage, 0, firing->y0, firing->x0, firing->x1);
        nrw_window_over(&window, &params->geometry, in, rows, firing->x0);
    } else {
        nrw_gather(&window, run, stage, &params->geometry, firing->y0, firing->x0, firing->x1,
                   rows);
    }
    conv.weights = nrw_at(model, params->weights);
    conv.channels = nrw_at(model, params->channels);
    conv.in_channels = in->channels;
    conv.out_channels = out->channels;
    conv.in_zero_point = in->zero_point;
    conv.out_zero_point = out->zero_point;
    conv.act_min = params->geometry.act_min;
    conv.act_max = params->geometry.act_max;
    conv.most_shift = model->conv_shift;
    model->kernels->conv(&conv, &window, firing->x0, firing->x1, 0, out->channels,
                         nrw_out(run, out, firing->y0, firing->x0), out->channels,
                         nrw_arena(run, stage->scratch_offset));
}

const struct nrw_operator nrw_operator_conv = {
    .least_inputs = 1,
    .most_inputs = 1,
    .forms = 1u << NRW_SINGLE,
    .params_bytes = sizeof(struct nrw_filter_params),
    .reads = NRW_READS_GEOMETRY,
    .check = check,
    .sizes = sizes,
    .work = work,
    .compute = compute,
#ifdef NARROWS_PLANNING
    .macs = macs,
#endif
};
