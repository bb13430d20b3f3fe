/* SPDX-License-Identifier: Apache-2.0 */
#include "../src/check.h"
#include "../src/firing.h"
#include "average.h"
#include "pooling.h"

/* Whether every window holds an element of the input. */
static bool covers(uint32_t in, uint32_t out, uint32_t kernel, uint32_t stride, uint32_t pad)
{
    return pad < kernel && (out - 1) * stride < in + pad;
}

NRW_COLD int nrw_check_pool(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_geometry *geometry = nrw_at(model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    const bool accumulates = nrw_adds_up(stage);

    TRY(nrw_check_geometry(model, geometry, accumulates));
    REQUIRE(in->channels == out->channels, stage->output);
    REQUIRE(geometry->dilation_h == 1, geometry->dilation_h);
    REQUIRE(geometry->dilation_w == 1, geometry->dilation_w);
    REQUIRE(geometry->depth_multiplier == 0, geometry->depth_multiplier);
    REQUIRE(covers(in->height, out->height, geometry->kernel_h, geometry->stride_h,
                   geometry->pad_top),
            geometry->pad_top);
    REQUIRE(covers(in->width, out->width, geometry->kernel_w, geometry->stride_w,
                   geometry->pad_left),
            geometry->pad_left);
    REQUIRE(!accumulates || (out->height == 1 &&
                             geometry->kernel_h - geometry->pad_top >= in->height),
            geometry->kernel_h);
    REQUIRE(!accumulates || stage->strip == in->width ||
                (out->width == 1 && geometry->pad_left == 0 && geometry->kernel_w >= in->width),
            stage->strip);
    return NRW_OK;
}

struct nrw_work nrw_pool_work(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_geometry *geometry = nrw_at(model, stage->params);

    return nrw_average_work(model, stage, geometry->kernel_h, geometry->kernel_w);
}
