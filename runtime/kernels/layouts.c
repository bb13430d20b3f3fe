/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the planner and nrw_open ask about layouts. A build answers for every layout, also for those
 * that it has no kernels for, since a blob for a board is planned on the host.
 */
#include "../src/sizes.h"
#include "kernels.h"
#include "layouts.h"

const struct nrw_kernels *nrw_kernels_of(uint32_t layout)
{
#define NRW_ENTRY(LAYOUT, implementation) \
    [NRW_LAYOUT_##LAYOUT] = &nrw_kernels_##implementation,
    static const struct nrw_kernels *const kernels[NRW_LAYOUT_COUNT] = {NRW_LAYOUTS(NRW_ENTRY)};
#undef NRW_ENTRY

    return layout < NRW_LAYOUT_COUNT ? kernels[layout] : NULL;
}

uint32_t nrw_layouts(void)
{
    uint32_t bits = 0;

    for (uint32_t layout = 0; layout < NRW_LAYOUT_COUNT; layout++) {
        bits |= (uint32_t)(nrw_kernels_of(layout) != NULL) << layout;
    }
    return bits;
}

uint64_t nrw_conv_weight_bytes(uint32_t layout, const struct nrw_filter_shape *shape)
{
    const uint64_t taps = (uint64_t)shape->kernel_h * shape->kernel_w;

    switch (layout) {
    case NRW_LAYOUT_PLAIN:
        return taps * shape->in_channels * shape->out_channels;
    case NRW_LAYOUT_BLOCKED:
        return taps * nrw_whole_blocks(shape->in_channels) *
               nrw_whole_blocks(shape->out_channels);
    default:
        return 0;
    }
}

uint64_t nrw_depthwise_weight_bytes(uint32_t layout, const struct nrw_filter_shape *shape)
{
    const uint64_t taps = (uint64_t)shape->kernel_h * shape->kernel_w;

    return layout < NRW_LAYOUT_COUNT ? taps * shape->out_channels : 0;
}

/* The portable kernels read rows in place. */
uint32_t nrw_conv_scratch_bytes(uint32_t layout, uint32_t kernel_h, uint32_t kernel_w,
                                uint32_t in_channels, uint32_t out_channels)
{
    (void)layout;
    (void)kernel_h;
    (void)kernel_w;
    (void)in_channels;
    (void)out_channels;
    return 0;
}

uint32_t nrw_depthwise_scratch_bytes(uint32_t layout, uint32_t kernel_h, uint32_t kernel_w,
                                     uint32_t channels)
{
    (void)layout;
    (void)kernel_h;
    (void)kernel_w;
    (void)channels;
    return 0;
}
