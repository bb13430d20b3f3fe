/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of state and scratch: with sizes.h their one definition, for the planner, for nrw_open
 * and for the stages that divide them up. Functions of shapes alone, the same on every target.
 */
#include "sizes.h"

uint32_t nrw_wrapped_row_bytes(uint32_t pixels, uint32_t pixel_bytes)
{
    return nrw_bytes32((uint64_t)pixels * pixel_bytes);
}

uint32_t nrw_bottleneck_columns(const struct nrw_bottleneck_shape *shape)
{
    return nrw_least(shape->in_width,
                     (nrw_columns_at_a_time(shape) - 1u) * shape->expand_stride_w +
                         shape->expand_kernel_w);
}

/* What the kernels ask for. */
static uint32_t kernels_bytes(uint32_t layout, const struct nrw_bottleneck_shape *shape)
{
    uint32_t bytes = nrw_depthwise_scratch_bytes(layout, shape->kernel_h, shape->kernel_w,
                                                 shape->slice);

    if (shape->has_expand) {
        bytes = nrw_most(bytes,
                         nrw_conv_scratch_bytes(layout, shape->expand_kernel_h,
                                                shape->expand_kernel_w, shape->in_channels,
                                                shape->slice, nrw_columns_at_a_time(shape)));
    }
    if (shape->has_project && shape->slice == shape->mid_channels) {
        bytes = nrw_most(bytes,
                         nrw_conv_scratch_bytes(layout, 1, 1, shape->slice, shape->out_channels,
                                                shape->col_tile));
    }
    return bytes;
}

uint32_t nrw_bottleneck_scratch_bytes(uint32_t layout, const struct nrw_bottleneck_shape *shape)
{
    const struct nrw_bottleneck_parts parts = nrw_bottleneck_parts(shape, nrw_any_product);

    return nrw_bytes32((nrw_bottleneck_resumes(shape) ? 0 : (uint64_t)parts.expanded) +
                       parts.filtered + parts.sums + kernels_bytes(layout, shape));
}

uint32_t nrw_bottleneck_state_bytes(const struct nrw_bottleneck_shape *shape)
{
    const struct nrw_bottleneck_parts parts = nrw_bottleneck_parts(shape, nrw_any_product);

    return nrw_bytes32((nrw_bottleneck_resumes(shape) ? (uint64_t)parts.expanded : 0) +
                       parts.kept);
}

uint32_t nrw_folded_depthwise_state_bytes(uint32_t in_width, uint32_t out_width,
                                           uint32_t pad_left, uint32_t channels)
{
    const struct nrw_folded_depthwise_parts parts =
        nrw_folded_depthwise_parts(in_width, out_width, pad_left, channels, nrw_any_product);

    return nrw_bytes32((uint64_t)parts.kept + parts.highs);
}

uint32_t nrw_accumulate_state_bytes(uint32_t out_width, uint32_t channels)
{
    return nrw_bytes32((uint64_t)out_width * channels * sizeof(int32_t));
}
