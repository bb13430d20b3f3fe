/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "layouts.h"

/* Where weight (o, tap, i) stands. */
static size_t place_of(uint32_t layout, const struct nrw_filter_shape *shape, uint32_t o,
                       uint32_t tap, uint32_t i)
{
    const uint32_t taps = shape->kernel_h * shape->kernel_w;
    const uint32_t block = o & ~(NRW_LAYOUT_BLOCK - 1u);

    if (layout == NRW_LAYOUT_BLOCKED) {
        return (size_t)block * taps * nrw_whole_blocks(shape->in_channels) +
               (size_t)NRW_LAYOUT_BLOCK * (o - block) +
               nrw_blocked_at(tap, i, shape->in_channels);
    }
    if (layout == NRW_LAYOUT_PAIRED) {
        return nrw_paired_at(o, tap * shape->in_channels + i, taps * shape->in_channels);
    }
    return ((size_t)o * taps + tap) * shape->in_channels + i;
}

void nrw_conv_pack(uint32_t layout, const struct nrw_filter_shape *shape, const int8_t *plain,
                   int8_t *packed)
{
    const size_t bytes = (size_t)nrw_conv_weight_bytes(layout, shape);

    memset(packed, 0, bytes);
    for (uint32_t o = 0; o < shape->out_channels; o++) {
        for (uint32_t tap = 0; tap < shape->kernel_h * shape->kernel_w; tap++) {
            for (uint32_t i = 0; i < shape->in_channels; i++) {
                packed[place_of(layout, shape, o, tap, i)] = *plain++;
            }
        }
    }
    for (size_t at = 0; layout == NRW_LAYOUT_PAIRED && at < bytes; at++) {
        packed[at] = nrw_paired_weight(at, packed[at]);
    }
}

void nrw_conv_unpack(uint32_t layout, const struct nrw_filter_shape *shape, const int8_t *packed,
                     int8_t *plain)
{
    for (uint32_t o = 0; o < shape->out_channels; o++) {
        for (uint32_t tap = 0; tap < shape->kernel_h * shape->kernel_w; tap++) {
            for (uint32_t i = 0; i < shape->in_channels; i++) {
                const size_t at = place_of(layout, shape, o, tap, i);

                *plain++ = layout == NRW_LAYOUT_PAIRED ? nrw_paired_weight(at, packed[at])
                                                       : packed[at];
            }
        }
    }
}
