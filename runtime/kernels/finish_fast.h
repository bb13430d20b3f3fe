/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From sums to output elements.
 */
#ifndef NARROWS_KERNELS_FINISH_FAST_H
#define NARROWS_KERNELS_FINISH_FAST_H

#include "../src/requant.h"

/* The sum of so many products of bytes has 31 bits. Sums are signed where that is certain, because
 * compilers reorder the additions of unsigned ones and then need more registers than there are. */
enum { NRW_MOST_PRODUCTS = 1 << 16 };

/* The output's zero point and the clamp. */
struct nrw_limits {
    int32_t zero_point, act_min, act_max;
};

/* Sums of `count` channels of a pixel, without their bias. */
void nrw_finish_fast(const struct nrw_channel *channels, const uint32_t *sums, uint32_t count,
                     const struct nrw_limits *limits, int8_t *out);

#endif
