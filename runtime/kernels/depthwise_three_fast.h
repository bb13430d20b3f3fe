/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The innermost loop of depthwise convolutions with 3x3 windows: three neighbouring output pixels,
 * or one, channel after channel. In portable C, and in assembly for Thumb-2.
 */
#ifndef NARROWS_KERNELS_DEPTHWISE_THREE_FAST_H
#define NARROWS_KERNELS_DEPTHWISE_THREE_FAST_H

#include "../src/requant.h"

enum { NRW_THREE = 3, NRW_MOST_COLUMNS = 7 };

/* What the loop reads and moves on. The assembly knows the places of the fields. */
struct nrw_three {
    const int8_t *weights;              /* 0: of the next channel's first tap */
    uint32_t tap_step;                  /* 4: bytes from one tap's weights to the next one's */
    const struct nrw_channel *channels; /* 8: the next channel, */
    const struct nrw_channel *end;      /* 12: and behind the last one, at least one further */
    int8_t *out;                        /* 16: of the first pixel */
    uint32_t out_stride;                /* 20: from one pixel to the next */
    int32_t rounding;                   /* 24: nrw_finish_word of a ReLU */
    int32_t channel;                    /* 28: from the end in the columns to the next one, < 0 */
    int32_t last[NRW_THREE];            /* 32: sums of the next channel, if it is left */
    /* 44: the windows' columns, where the last channel ends: 3 of one pixel, 5 or 7 of three with a
     * stride of 1 or 2 */
    const int8_t *columns[NRW_THREE][NRW_MOST_COLUMNS];
};

/* Computes channels of three pixels with a stride of 1 until all are done, or the next one has no
 * prescale: then its sums are left, with their bias, and `weights` and `channel` are already those
 * of the one behind. Outputs are clamped to int8 only. */
void nrw_three_by_one(struct nrw_three *three);

/* The same with a stride of 2. */
void nrw_three_by_two(struct nrw_three *three);

/* The same of one pixel. */
void nrw_three_of_one(struct nrw_three *three);

#endif
