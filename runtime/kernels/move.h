/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operators that move elements or look at one at a time: concatenation, slice, padding,
 * lookup. (Moves without strides are memcpy; padding is memset and a move.)
 */
#ifndef NARROWS_KERNELS_MOVE_H
#define NARROWS_KERNELS_MOVE_H

#include <stdint.h>

/* out[p * out_stride + c] = in[p * in_stride + c * channel_stride] for p < pixels and
 * c < channels; strides in bytes. in and out must not overlap. */
typedef void nrw_move_kernel(const int8_t *in, uint32_t in_stride, uint32_t channel_stride,
                             uint32_t pixels, uint32_t channels, int8_t *out,
                             uint32_t out_stride);

/* out[i] = table[in[i] as an unsigned byte]; table: [256]; out may be in. */
typedef void nrw_lookup_kernel(const uint8_t *table, const int8_t *in, uint32_t count,
                               int8_t *out);

/* Every implementation: X(suffix). */
#define NRW_MOVE_VARIANTS(X) X(c)

#define NRW_DECLARE(suffix)          \
    nrw_move_kernel nrw_move_##suffix;    \
    nrw_lookup_kernel nrw_lookup_##suffix;
NRW_MOVE_VARIANTS(NRW_DECLARE)
#undef NRW_DECLARE

#endif
