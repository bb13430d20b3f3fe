/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the planner and nrw_open ask about layouts. The host has kernels for every layout, since
 * blobs for boards are planned there; firmware need not know those that it refuses.
 */
#include "../src/sizes.h"
#include "kernels.h"
#include "layouts.h"

#define NRW_BIT(LAYOUT, table) | 1u << NRW_LAYOUT_##LAYOUT
enum { LAYOUTS = 0 NRW_LAYOUTS(NRW_BIT) };
#undef NRW_BIT

/* Whether a blob's layout is `which`, one of the build's. */
static inline int is_layout(uint32_t layout, enum nrw_layout which)
{
    return (LAYOUTS >> which & 1u) != 0 && layout == (uint32_t)which;
}

const struct nrw_kernels *nrw_kernels_of(uint32_t layout)
{
#define NRW_ENTRY(LAYOUT, table) [NRW_LAYOUT_##LAYOUT] = &nrw_kernels_##table,
    static const struct nrw_kernels *const kernels[NRW_LAYOUT_COUNT] = {NRW_LAYOUTS(NRW_ENTRY)};
#undef NRW_ENTRY

    return layout < NRW_LAYOUT_COUNT ? kernels[layout] : NULL;
}

uint32_t nrw_layouts(void)
{
    return LAYOUTS;
}

uint64_t nrw_conv_weight_bytes(uint32_t layout, const struct nrw_filter_shape *shape)
{
    const uint64_t taps = (uint64_t)shape->kernel_h * shape->kernel_w;

    if (is_layout(layout, NRW_LAYOUT_PLAIN)) {
        return taps * shape->in_channels * shape->out_channels;
    }
    if (is_layout(layout, NRW_LAYOUT_BLOCKED)) {
        return taps * nrw_whole_blocks(shape->in_channels) *
               nrw_whole_blocks(shape->out_channels);
    }
    if (is_layout(layout, NRW_LAYOUT_PAIRED)) {
        return (taps * shape->in_channels + 1) / 2 * NRW_PAIR_BYTES *
               (nrw_whole_blocks(shape->out_channels) / NRW_LAYOUT_BLOCK);
    }
    return 0;
}

uint64_t nrw_depthwise_weight_bytes(uint32_t layout, const struct nrw_filter_shape *shape)
{
    const uint64_t taps = (uint64_t)shape->kernel_h * shape->kernel_w;

    return layout < NRW_LAYOUT_COUNT ? taps * shape->out_channels : 0;
}

/* Kernels of NRW_LAYOUT_PAIRED widen elements to 16 bits, of long windows some at a time, while
 * sums are kept; others read rows in place. */
uint32_t nrw_conv_scratch_bytes(uint32_t layout, uint32_t kernel_h, uint32_t kernel_w,
                                uint32_t in_channels, uint32_t out_channels, uint32_t pixels)
{
    const uint64_t taps = (uint64_t)kernel_h * kernel_w;
    const uint64_t pairs = (taps * in_channels + 1) / 2;
    const uint32_t widened = nrw_widened_pairs(taps, pairs, pixels);
    const uint32_t sums = widened < pairs ? nrw_kept_sums_bytes(out_channels, pixels) : 0;

    return is_layout(layout, NRW_LAYOUT_PAIRED)
               ? nrw_bytes32(nrw_widened_pixels(pixels) * (uint64_t)NRW_WIDENED_BYTES * widened +
                             sums)
               : 0;
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
