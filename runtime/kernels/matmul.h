/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of two matrices of activations (SPEC.md, MATMUL), and the place of the greatest element
 * of each pixel (ARG_MAX).
 */
#ifndef NARROWS_KERNELS_MATMUL_H
#define NARROWS_KERNELS_MATMUL_H

#include "elementwise.h"

/* a: [pixels][depth], b: [columns][depth] (a column's elements side by side),
 * out: [pixels][columns], all without gaps; out overlaps neither. op: as for a product of two
 * elements. Sums are modulo 2^32. */
typedef void nrw_matmul_kernel(const struct nrw_elementwise_op *op, const int8_t *a,
                               const int8_t *b, uint32_t pixels, uint32_t depth, uint32_t columns,
                               int8_t *out);

/* in: [pixels][channels], channels 1 or more; out: [pixels], the least c whose in[c] is the
 * greatest. */
typedef void nrw_arg_max_kernel(const int8_t *in, uint32_t pixels, uint32_t channels,
                                uint32_t *out);

/* Every implementation: X(suffix). */
#define NRW_MATMUL_VARIANTS(X) X(c)

#define NRW_DECLARE(suffix)              \
    nrw_matmul_kernel nrw_matmul_##suffix; \
    nrw_arg_max_kernel nrw_arg_max_##suffix;
NRW_MATMUL_VARIANTS(NRW_DECLARE)
#undef NRW_DECLARE

#endif
