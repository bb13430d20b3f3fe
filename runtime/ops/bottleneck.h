/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inverted residual in one stage: expansion, depthwise, projection, residual add. (The
 * expansion may be any convolution, such as the first of a network.) bottleneck.c says what its
 * firings need, bottleneck_compute.c computes them.
 */
#ifndef NARROWS_BOTTLENECK_H
#define NARROWS_BOTTLENECK_H

#include "../src/sizes.h"
#include "operator.h"

/* Whether it keeps expanded rows in line buffers; else it goes by tiles. */
static inline bool nrw_rolls(const struct nrw_stage *stage)
{
    return nrw_forms_of[NRW_OP_BOTTLENECK] == 1u << NRW_ROLLING || nrw_is_form(stage, NRW_ROLLING);
}

/* The shape that the size functions want. */
static inline struct nrw_bottleneck_shape
nrw_bottleneck_shape_of(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_bottleneck_params *params = nrw_at(model, stage->params);
    const struct nrw_geometry *geometry = &params->depthwise.geometry;
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    const bool expand = (stage->flags & NRW_EXPAND) != 0;
    const struct nrw_geometry *expansion = &params->expand.geometry;
    struct nrw_bottleneck_shape shape;

    shape.in_width = in->width;
    shape.in_channels = in->channels;
    shape.expand_kernel_h = expand ? expansion->kernel_h : 1;
    shape.expand_kernel_w = expand ? expansion->kernel_w : 1;
    shape.expand_stride_w = expand ? expansion->stride_w : 1;
    shape.grid_height = params->grid_height;
    shape.grid_width = params->grid_width;
    shape.mid_channels = params->mid_channels;
    shape.out_width = out->width;
    shape.out_channels = out->channels;
    shape.kernel_h = geometry->kernel_h;
    shape.kernel_w = geometry->kernel_w;
    shape.stride_h = geometry->stride_h;
    shape.stride_w = geometry->stride_w;
    shape.slice = params->slice;
    shape.strip = stage->strip;
    shape.row_tile = params->row_tile;
    shape.col_tile = params->col_tile;
    shape.kept_rows = params->kept_rows;
    shape.has_expand = expand;
    shape.has_project = (stage->flags & NRW_PROJECT) != 0;
    shape.has_add = (stage->flags & NRW_ADD_INPUT) != 0;
    shape.rolling = nrw_rolls(stage);
    return shape;
}

/* The expanded rows that a firing computes: those of its windows, but for the rows that a rolling
 * stage keeps in line buffers. */
struct nrw_range nrw_expands(const struct nrw_model *model, const struct nrw_stage *stage,
                             const struct nrw_firing *firing);

nrw_compute_fn nrw_bottleneck_compute;

#endif
