/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resizing, bilinear or nearest (SPEC.md, RESIZE).
 */
#ifndef NARROWS_KERNELS_RESIZE_H
#define NARROWS_KERNELS_RESIZE_H

#include <stdint.h>

/* Where an output row or column lies between two of the input, as it stands in the blob. */
struct nrw_sample {
    uint16_t low;      /* the other one is low + (fraction != 0) */
    uint16_t fraction; /* 0 to 1023: weights 1024 - fraction and fraction */
};

/* One output row. low, high: input rows [..][channels] that it mixes (the same row if
 * fraction is 0), fraction: of the row; columns: [pixels]. out: [pixels][channels], must
 * not overlap the input. */
typedef void nrw_resize_kernel(const int8_t *low, const int8_t *high, uint32_t fraction,
                               const struct nrw_sample *columns, uint32_t pixels,
                               uint32_t channels, int8_t *out);

/* Every implementation: X(suffix). */
#define NRW_RESIZE_VARIANTS(X) X(c)

#define NRW_DECLARE(suffix) nrw_resize_kernel nrw_resize_##suffix;
NRW_RESIZE_VARIANTS(NRW_DECLARE)
#undef NRW_DECLARE

#endif
