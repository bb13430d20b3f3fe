/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Softmax over the channels of each pixel (SPEC.md, SOFTMAX).
 */
#ifndef NARROWS_KERNELS_SOFTMAX_H
#define NARROWS_KERNELS_SOFTMAX_H

#include "../src/requant.h"

/* table: [256], table[d] the exponential of d steps below the maximum, any values.
 * in, out: [pixels][channels] without gaps, channels 1 or more; out may be in. */
typedef void nrw_softmax_kernel(const int32_t *table, const int8_t *in, uint32_t pixels,
                                uint32_t channels, int8_t *out);

/* Every implementation: X(suffix). */
#define NRW_SOFTMAX_VARIANTS(X) X(c)

#define NRW_DECLARE(suffix) nrw_softmax_kernel nrw_softmax_##suffix;
NRW_SOFTMAX_VARIANTS(NRW_DECLARE)
#undef NRW_DECLARE

#endif
