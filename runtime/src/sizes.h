/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NARROWS_SIZES_H
#define NARROWS_SIZES_H

#include "narrows.h"

/* The parts of a bottleneck's scratch, in this order, and of its state; bytes, multiples of
 * 16. `expanded` is in the scratch, but in the state if it outlives a firing. */
struct nrw_bottleneck_layout {
    uint32_t expanded; /* [rows][columns][slice]; rolling: of the rows that are not kept */
    uint32_t filtered; /* [col_tile][slice], with a projection */
    uint32_t sums;     /* i32 [row_tile][col_tile][out], tiled with a projection */
    uint32_t kept;     /* state: [kept_rows][in_width][mid], rolling */
    uint32_t columns;  /* not bytes: of an input row in `expanded` */
};

/* Behind the sums is what the kernels ask for. */
void nrw_bottleneck_layout(struct nrw_bottleneck_layout *layout,
                           const struct nrw_bottleneck_shape *shape);

/* Whether `expanded` is state. */
static inline int nrw_bottleneck_resumes(const struct nrw_bottleneck_shape *shape)
{
    return shape->rolling && shape->run < shape->out_width;
}

#endif
