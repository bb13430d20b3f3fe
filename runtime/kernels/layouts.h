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

/* Bytes of a pair of elements of four output channels, of NRW_LAYOUT_PAIRED. */
#define NRW_PAIR_BYTES 8u

/* Pairs of a window's elements. */
static inline uint32_t nrw_pairs(uint32_t elements)
{
    return elements / 2 + (elements & 1u);
}

/* What its kernels widen at a time: one pixel or two, and of their windows so many of the pairs, an
 * even number unless these are all. Windows of several taps repeat what stands in rows, so less of
 * them is worth its RAM; and one pixel's is that of a dense layer, whose RAM is little else. A
 * window that does not fit goes by in parts, so it shares the room with sums. */
#define NRW_WIDENED_BYTES 4u

static inline uint32_t nrw_widened_pixels(uint32_t pixels)
{
    return pixels > 1 ? 2 : 1;
}

static inline uint32_t nrw_widened_pairs(uint64_t taps, uint64_t pairs, uint32_t pixels)
{
    const uint32_t whole = pixels == 1 ? 128 : taps == 1 ? 512 : 72;
    const uint32_t part = pixels == 1 ? 64 : taps == 1 ? 448 : 36;

    return pairs <= whole ? (uint32_t)pairs : part;
}

/* The sums that are kept from part to part: of so many groups of four output channels. The first
 * group may begin before the channels that are asked for. */
#define NRW_KEPT_GROUPS 16u

static inline uint32_t nrw_kept_sums_bytes(uint32_t channels, uint32_t pixels)
{
    const uint32_t groups = (channels + 6) / 4;

    return (groups < NRW_KEPT_GROUPS ? groups : NRW_KEPT_GROUPS) * 4 * 4 *
           nrw_widened_pixels(pixels);
}

/* NRW_LAYOUT_PAIRED: [out / 4][element / 2][out % 4 / 2][element % 2][out % 2], where a window's
 * elements are numbered tap * in_channels + in; what fills up the last pair and the last four
 * channels is 0. Returns where a weight stands. */
static inline size_t nrw_paired_at(uint32_t out, uint32_t element, uint32_t elements)
{
    return NRW_PAIR_BYTES * ((size_t)(out / 4) * nrw_pairs(elements) + element / 2) +
           (out % 4 / 2) * 4u + element % 2 * 2u + out % 2;
}

/* A byte of that layout to the weight, and back: those of even output channels, which are the even
 * bytes, stand 128 higher, as unsigned bytes. */
static inline int8_t nrw_paired_weight(size_t at, int8_t byte)
{
    return (int8_t)(at % 2 ? byte : byte ^ -128);
}

/* cffi: begin */
/* Host only. From [out][height][width][in] to a layout and back. packed: nrw_conv_weight_bytes. */
void nrw_conv_pack(uint32_t layout, const struct nrw_filter_shape *shape, const int8_t *plain,
                   int8_t *packed);
void nrw_conv_unpack(uint32_t layout, const struct nrw_filter_shape *shape, const int8_t *packed,
                     int8_t *plain);
/* cffi: end */

#endif
