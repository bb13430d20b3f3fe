/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a weight stands in each layout (SPEC.md, Layouts). Depthwise weights stand in every layout
 * so far as [kernel_h][kernel_w][out_channels].
 */
#ifndef NARROWS_LAYOUTS_H
#define NARROWS_LAYOUTS_H

#include "../include/narrows.h"

/* Channels of a block, along both axes, of NRW_LAYOUT_BLOCKED. */
#define NRW_LAYOUT_BLOCK 4u

static inline uint32_t nrw_whole_blocks(uint32_t channels)
{
    return (channels + NRW_LAYOUT_BLOCK - 1u) & ~(NRW_LAYOUT_BLOCK - 1u);
}

/* NRW_LAYOUT_BLOCKED: [out / 4][tap][in / 4][out % 4][in % 4]; channels are rounded up to whole
 * blocks, whose other weights are 0. Returns where weight (0, tap, in) of the block stands, from
 * the start of the block of output channels; output channel o of it stands 4 * o bytes behind. */
static inline size_t nrw_blocked_at(uint32_t tap, uint32_t in, uint32_t in_channels)
{
    return (size_t)NRW_LAYOUT_BLOCK *
               ((size_t)tap * nrw_whole_blocks(in_channels) + (in & ~(NRW_LAYOUT_BLOCK - 1u))) +
           (in & (NRW_LAYOUT_BLOCK - 1u));
}

/* cffi: begin */
/* Host only. From [out][height][width][in] to a layout and back. packed: nrw_conv_weight_bytes. */
void nrw_conv_pack(uint32_t layout, const struct nrw_filter_shape *shape, const int8_t *plain,
                   int8_t *packed);
void nrw_conv_unpack(uint32_t layout, const struct nrw_filter_shape *shape, const int8_t *packed,
                     int8_t *plain);
/* cffi: end */

#endif
