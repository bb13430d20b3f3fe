/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of state and scratch: their one definition, for the planner, for nrw_open and for
 * the stages that divide them up. Functions of shapes alone, the same on every target.
 */
#include "sizes.h"

/* Rounded up to 16; what no arena can hold becomes UINT32_MAX, which none does. */
static uint32_t bytes32(uint64_t bytes)
{
    return bytes > 0x7FFFFFF0u ? UINT32_MAX : ((uint32_t)bytes + 15u) & ~15u;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t most(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

uint32_t nrw_torn_row_bytes(uint32_t pixels, uint32_t channels)
{
    return bytes32((uint64_t)pixels * channels);
}

uint32_t nrw_bottleneck_columns(const struct nrw_bottleneck_shape *shape)
{
    /* A rolling stage goes through every column, those between windows too. */
    const uint32_t last = shape->rolling ? most(shape->kernel_w, shape->stride_w)
                                         : shape->kernel_w;

    return least(shape->in_width, (shape->col_tile - 1u) * shape->stride_w + last);
}

/* What the kernels ask for. */
static uint32_t kernels_bytes(uint32_t isa, const struct nrw_bottleneck_shape *shape)
{
    uint32_t bytes = nrw_depthwise_scratch_bytes(isa, shape->kernel_h, shape->kernel_w,
                                                 shape->slice);

    if (shape->has_expand) {
        bytes = most(bytes, nrw_conv_scratch_bytes(isa, 1, 1, shape->in_channels, shape->slice));
    }
    if (shape->has_project && shape->rolling) {
        bytes = most(bytes, nrw_conv_scratch_bytes(isa, 1, 1, shape->slice, shape->out_channels));
    }
    return bytes;
}

void nrw_bottleneck_layout(struct nrw_bottleneck_layout *layout,
                           const struct nrw_bottleneck_shape *shape)
{
    const uint32_t columns = nrw_bottleneck_columns(shape);
    const uint32_t rows =
        (shape->row_tile - 1u) * shape->stride_h + shape->kernel_h - shape->kept_rows;
    const uint64_t expanded = (uint64_t)least(shape->in_height, rows) * columns * shape->slice;
    const uint64_t filtered = (uint64_t)shape->col_tile * shape->slice;
    const uint64_t sums =
        (uint64_t)shape->row_tile * shape->col_tile * shape->out_channels * sizeof(int32_t);

    layout->columns = columns;
    layout->expanded = shape->has_expand ? bytes32(expanded) : 0;
    layout->filtered = shape->has_project ? bytes32(filtered) : 0;
    layout->sums = shape->has_project && !shape->rolling ? bytes32(sums) : 0;
    layout->kept = bytes32((uint64_t)shape->kept_rows * shape->in_width * shape->mid_channels);
}

uint32_t nrw_bottleneck_scratch_bytes(uint32_t isa, const struct nrw_bottleneck_shape *shape)
{
    struct nrw_bottleneck_layout layout;

    nrw_bottleneck_layout(&layout, shape);
    return bytes32((nrw_bottleneck_resumes(shape) ? 0 : (uint64_t)layout.expanded) +
                   layout.filtered + layout.sums + kernels_bytes(isa, shape));
}

uint32_t nrw_bottleneck_state_bytes(uint32_t isa, const struct nrw_bottleneck_shape *shape)
{
    struct nrw_bottleneck_layout layout;

    (void)isa;
    nrw_bottleneck_layout(&layout, shape);
    return bytes32((nrw_bottleneck_resumes(shape) ? (uint64_t)layout.expanded : 0) +
                   layout.kept);
}

uint32_t nrw_accumulate_state_bytes(uint32_t out_width, uint32_t channels)
{
    return bytes32((uint64_t)out_width * channels * sizeof(int32_t));
}
