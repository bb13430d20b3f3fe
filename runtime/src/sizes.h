/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NARROWS_SIZES_H
#define NARROWS_SIZES_H

#include "narrows.h"

/* Bytes of scratch that one firing needs, per layout; here and below rounded up to 16. They are
 * functions of shapes alone and the same on every target. pixels: the most of a row that the kernel
 * is called for at a time. */
uint32_t nrw_conv_scratch_bytes(uint32_t layout, uint32_t kernel_h, uint32_t kernel_w,
                                uint32_t in_channels, uint32_t out_channels, uint32_t pixels);
uint32_t nrw_depthwise_scratch_bytes(uint32_t layout, uint32_t kernel_h, uint32_t kernel_w,
                                     uint32_t channels);

/* A fused inverted residual: expansion, depthwise, projection, residual add. */
struct nrw_bottleneck_shape {
    uint16_t in_width, in_channels;
    uint16_t expand_kernel_h, expand_kernel_w, expand_stride_w; /* 1 without an expansion */
    uint16_t grid_height, grid_width;      /* of the depthwise's input */
    uint16_t mid_channels;                 /* channels of the depthwise */
    uint16_t out_width, out_channels;
    uint16_t kernel_h, kernel_w, stride_h, stride_w;
    uint16_t strip, slice, row_tile, col_tile;
    uint16_t kept_rows;                    /* of the expansion, from one output row to the next */
    uint8_t has_expand, has_project, has_add, rolling;
};
uint32_t nrw_bottleneck_scratch_bytes(uint32_t layout, const struct nrw_bottleneck_shape *shape);

/* Bytes that live from one firing to the next (what a rolling stage keeps). */
uint32_t nrw_bottleneck_state_bytes(const struct nrw_bottleneck_shape *shape);

/* Input columns that it goes through at a time. */
uint32_t nrw_bottleneck_columns(const struct nrw_bottleneck_shape *shape);

/* Scratch, beside the operator's own, for an input whose rows may wrap. pixels: the most of a row
 * that are read side by side. */
uint32_t nrw_wrapped_row_bytes(uint32_t pixels, uint32_t pixel_bytes);

/* State of a folded depthwise: a row of its input, or of what two rows add up to. */
uint32_t nrw_folded_depthwise_state_bytes(uint32_t in_width, uint32_t out_width,
                                          uint32_t pad_left, uint32_t channels);

/* State of an accumulating mean or average pool: sums of one output row. */
uint32_t nrw_accumulate_state_bytes(uint32_t out_width, uint32_t channels);

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
