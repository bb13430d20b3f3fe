/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NARROWS_SIZES_H
#define NARROWS_SIZES_H

#include "narrows.h"

/* The parts of a bottleneck's scratch, in this order; bytes, multiples of 16. */
struct nrw_bottleneck_layout {
    uint32_t expanded; /* tiled: [rows][columns][slice]; rolling: [new rows][columns][mid] */
    uint32_t filtered; /* [col_tile][slice], with a projection */
    uint32_t sums;     /* i32 [row_tile][col_tile][out], tiled with a projection */
    uint32_t kernels;  /* what the kernels ask for */
};

void nrw_bottleneck_layout(struct nrw_bottleneck_layout *layout, uint32_t isa,
                           const struct nrw_bottleneck_shape *shape);

/* Columns of the expanded part. */
uint32_t nrw_bottleneck_columns(const struct nrw_bottleneck_shape *shape);

#endif
