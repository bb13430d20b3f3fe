/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NARROWS_SIZES_H
#define NARROWS_SIZES_H

#include "narrows.h"

/* Rounded up to 16; what no arena can hold becomes UINT32_MAX, which none does. */
static inline uint32_t nrw_bytes32(uint64_t bytes)
{
    return bytes > 0x7FFFFFF0u ? UINT32_MAX : ((uint32_t)bytes + 15u) & ~15u;
}

/* a * b * c, rounded up to 16. */
typedef uint32_t nrw_product(uint32_t a, uint32_t b, uint32_t c);

static inline uint32_t nrw_any_product(uint32_t a, uint32_t b, uint32_t c)
{
    return (uint64_t)a * b > UINT32_MAX ? UINT32_MAX : nrw_bytes32((uint64_t)a * b * c);
}

/* Of a part of a stage that nrw_open has accepted: it fits into an arena. */
static inline uint32_t nrw_small_product(uint32_t a, uint32_t b, uint32_t c)
{
    return (a * b * c + 15u) & ~15u;
}

static inline uint32_t nrw_least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static inline uint32_t nrw_most(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static inline uint32_t nrw_columns_at_a_time(const struct nrw_bottleneck_shape *shape)
{
    /* A rolling stage goes through every column, those between windows too. */
    const uint32_t last = shape->rolling ? nrw_most(shape->kernel_w, shape->stride_w)
                                         : shape->kernel_w;

    return nrw_least(shape->grid_width, (shape->col_tile - 1u) * shape->stride_w + last);
}

/* The parts of a bottleneck's scratch, in this order, and of its state; bytes, multiples of
 * 16. `expanded` is in the scratch, but in the state if it outlives a firing. */
struct nrw_bottleneck_parts {
    uint32_t expanded; /* [rows][columns][slice]; rolling: of the rows that are not kept */
    uint32_t filtered; /* [col_tile][slice], with a projection */
    uint32_t sums;     /* i32 [row_tile][col_tile][out], of a projection by slices */
    uint32_t kept;     /* state: [kept_rows][grid_width][mid], rolling */
    uint32_t columns;  /* not bytes: of a row in `expanded` */
};

/* Behind the sums is what the kernels ask for. */
static inline struct nrw_bottleneck_parts
nrw_bottleneck_parts(const struct nrw_bottleneck_shape *shape, nrw_product *product)
{
    const uint32_t columns = nrw_columns_at_a_time(shape);
    const uint32_t rows =
        (shape->row_tile - 1u) * shape->stride_h + shape->kernel_h - shape->kept_rows;
    struct nrw_bottleneck_parts parts;

    parts.columns = columns;
    parts.expanded = shape->has_expand
                          ? product(nrw_least(shape->grid_height, rows), columns, shape->slice)
                          : 0;
    parts.filtered = shape->has_project ? product(shape->col_tile, shape->slice, 1) : 0;
    parts.sums = shape->has_project && shape->slice < shape->mid_channels
                      ? product((uint32_t)sizeof(int32_t) * shape->row_tile, shape->col_tile,
                                shape->out_channels)
                      : 0;
    parts.kept = product(shape->kept_rows, shape->grid_width, shape->mid_channels);
    return parts;
}

/* The parts of a folded depthwise's state, in this order; bytes, multiples of 16. */
struct nrw_folded_depthwise_parts {
    uint32_t kept;  /* [columns][channels], from column -pad_left on */
    uint32_t highs; /* [out_width][channels / 4, rounded up]: bits 16 and 17 of the sums */
};

static inline struct nrw_folded_depthwise_parts
nrw_folded_depthwise_parts(uint32_t in_width, uint32_t out_width, uint32_t pad_left,
                             uint32_t channels, nrw_product *product)
{
    /* Two columns for each sum, and those of the input that windows reach. */
    const uint32_t reached = nrw_least(in_width + pad_left, 2u * out_width + 1u);
    struct nrw_folded_depthwise_parts parts;

    parts.kept = product(nrw_most(reached, 2u * out_width), channels, 1);
    parts.highs = product(out_width, (channels + 3u) / 4u, 1);
    return parts;
}

/* Whether `expanded` is state. */
static inline int nrw_bottleneck_resumes(const struct nrw_bottleneck_shape *shape)
{
    return shape->rolling && shape->strip < shape->out_width;
}

#endif
