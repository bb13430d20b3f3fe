/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CONV: a convolution of any kernel, stride, dilation and padding. One whose kernel is the whole
 * input, which is a fully connected layer, may add up the products of each strip of the input as it
 * comes: to the kernels, that is the projection of some channels of a single pixel.
 */
#include "../src/check.h"
#include "../src/sizes.h"
#include "../src/stage.h"
#include "operator.h"

/* nrw_accumulates of a CONV; false in builds whose CONVs have no such form. */
static inline bool adds_up(const struct nrw_stage *stage)
{
    return (nrw_forms_of[NRW_OP_CONV] >> NRW_ACCUMULATING & 1u) != 0 && nrw_accumulates(stage);
}

/* Whether the kernel is the whole input, and strips of it begin with whole words of weights in every
 * layout. */
NRW_COLD static int check_covering(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_geometry *geometry = nrw_at(model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);

    REQUIRE(nrw_pixels(nrw_output_of(model, stage)) == 1, stage->output);
    REQUIRE(geometry->kernel_h == in->height, geometry->kernel_h);
    REQUIRE(geometry->kernel_w == in->width, geometry->kernel_w);
    REQUIRE(geometry->pad_top == 0, geometry->pad_top);
    REQUIRE(geometry->pad_left == 0, geometry->pad_left);
    REQUIRE(geometry->dilation_h == 1, geometry->dilation_h);
    REQUIRE(geometry->dilation_w == 1, geometry->dilation_w);
    REQUIRE(in->channels % 4 == 0, in->channels);
    REQUIRE((uint64_t)nrw_pixels(in) * in->channels <= UINT16_MAX, stage->inputs[0]);
    return NRW_OK;
}

NRW_COLD static int check(struct nrw_model *model, const struct nrw_stage *stage)
{
    const bool by_strips = adds_up(stage);

    if (by_strips) {
        TRY(check_covering(model, stage));
    }
    return nrw_check_conv(model, nrw_at(model, stage->params),
                          nrw_input_of(model, stage, 0)->channels,
                          nrw_output_of(model, stage)->channels, by_strips);
}

NRW_COLD static struct nrw_sizes sizes(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_geometry *geometry = nrw_at(model, stage->params);
    const uint32_t channels = nrw_output_of(model, stage)->channels;
    struct nrw_sizes sizes = {0, 0};

    if (adds_up(stage)) {
        sizes.state = nrw_accumulate_state_bytes(1, channels);
    } else {
        sizes.scratch = nrw_conv_scratch_bytes(
            nrw_header_of(model)->layout, geometry->kernel_h, geometry->kernel_w,
            nrw_input_of(model, stage, 0)->channels, channels, stage->strip);
    }
    return sizes;
}

/* Products of one output channel in a firing of so many pixels. */
static uint64_t products(const struct nrw_model *model, const struct nrw_stage *stage,
                         uint32_t pixels)
{
    const uint64_t taps =
        adds_up(stage) ? 1u : nrw_taps_of(nrw_at(model, stage->params));

    return taps * nrw_input_of(model, stage, 0)->channels * pixels;
}

NRW_COLD static struct nrw_work work(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    const uint64_t depth = nrw_taps_of(nrw_at(model, stage->params)) *
                           nrw_input_of(model, stage, 0)->channels;
    const uint64_t outputs = adds_up(stage) ? 1u : stage->strip;
    const uint64_t step = (products(model, stage, stage->strip) + outputs) * out->channels;
    const struct nrw_work work = {depth * out->channels * nrw_pixels(out), step, 1};

    return work;
}

#ifdef NARROWS_PLANNING
static uint64_t macs(const struct nrw_model *model, const struct nrw_stage *stage,
                     const struct nrw_firing *firing)
{
    return products(model, stage, nrw_firing_pixels(firing)) *
           nrw_output_of(model, stage)->channels;
}
#endif

/* Adds a strip of the input to the sums; the last one finishes them. */
static void add_up(const struct nrw_run *run, const struct nrw_stage *stage,
                   const struct nrw_firing *firing, struct nrw_conv_op *conv)
{
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, 0);
    const uint32_t first = (uint32_t)(firing->y0 * in->width + firing->x0) * in->channels;
    const uint32_t count = nrw_firing_pixels(firing) * in->channels;
    int32_t *sums = (void *)nrw_arena(run, stage->state_offset);

    if (first == 0) {
        memset(sums, 0, stage->state_bytes);
    }
    conv->in_channels = nrw_pixels(in) * in->channels;
    run->model->kernels->conv_accumulate(
        conv, first, count, nrw_strip_in(run, stage, 0, firing), count,
        1, sums);
    if (firing->is_last) {
        nrw_conv_finish(conv, sums, 1, nrw_out(run, nrw_output_of(run->model, stage), 0, 0), 0);
    }
}

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

    conv.weights = nrw_at(model, params->weights);
    conv.channels = nrw_at(model, params->channels);
    conv.in_channels = in->channels;
    conv.out_channels = out->channels;
    conv.in_zero_point = in->zero_point;
    conv.out_zero_point = out->zero_point;
    conv.act_min = params->geometry.act_min;
    conv.act_max = params->geometry.act_max;
    conv.most_shift = model->conv_shift;
    if (adds_up(stage)) {
        add_up(run, stage, firing, &conv);
        return;
    }
    if (nrw_is_pixelwise(model, stage, 0)) {
        rows[0] = nrw_strip_in(run, stage, 0, firing);
        nrw_window_over(&window, &params->geometry, in, rows, firing->x0);
    } else {
        nrw_gather(&window, run, stage, &params->geometry, firing->y0, firing->x0, firing->x1,
                   rows);
    }
    model->kernels->conv(&conv, &window, firing->x0, firing->x1, 0, out->channels,
                         nrw_strip_out(run, stage, firing), out->channels,
                         nrw_arena(run, stage->scratch_offset));
}

const struct nrw_operator nrw_operator_conv = {
    .least_inputs = 1,
    .most_inputs = 1,
    .forms = 1u << NRW_SINGLE | 1u << NRW_ACCUMULATING,
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
