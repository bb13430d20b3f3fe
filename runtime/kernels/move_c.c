/* SPDX-License-Identifier: Apache-2.0 */
#include "move.h"

void nrw_move_c(const int8_t *in, uint32_t in_stride, uint32_t channel_stride, uint32_t pixels,
                uint32_t channels, int8_t *out, uint32_t out_stride)
{
    for (; pixels > 0; pixels--, in += in_stride, out += out_stride) {
        const int8_t *element = in;

        for (uint32_t c = 0; c < channels; c++, element += channel_stride) {
            out[c] = *element;
        }
    }
}

void nrw_lookup_c(const uint8_t *table, const int8_t *in, uint32_t count, int8_t *out)
{
    for (uint32_t i = 0; i < count; i++) {
        out[i] = (int8_t)table[(uint8_t)in[i]];
    }
}
