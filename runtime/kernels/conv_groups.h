/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The innermost loops of conv_paired_dsp.c, in assembly: groups of four output channels of one
 * pixel or two, whose windows are widened.
 */
#ifndef NARROWS_KERNELS_CONV_GROUPS_H
#define NARROWS_KERNELS_CONV_GROUPS_H

#include "../src/requant.h"

/* Pixels whose windows are widened together. */
enum { NRW_PIXELS = 2 };

/* Output channels computed together, and pairs of elements in a round of the innermost loop. */
enum { NRW_GROUP = 4, NRW_STEPS = 8 };

/* Bytes of a step's code. The first round leaves out the first steps if no whole round is left; one
 * pixel's steps are of two pairs, the first of which may be left out. */
enum { NRW_CODE_OF_TWO = 48, NRW_CODE_OF_ONE = 60, NRW_CODE_OF_PAIR = 28 };

/* What the assembly reads and moves on; the order and places of the fields are known there.
 *
 * A window may go by in parts. Then a group's sums stand in memory from part to part, as
 * [NRW_GROUP][pixels], and are not yet what they are called: those of an even channel are of all
 * products with its words of weights. */
struct nrw_groups {
    int32_t *sums;                      /* 0: begun with; NULL: the biases */
    const int8_t *weights;              /* 4: of the next group; of the one before, if begun */
    const struct nrw_channel *channels; /* 8; NULL: there are more parts, sums are left */
    const uint32_t *window_end;         /* 12 */
    const uint32_t *window;             /* 16: widened */
    uint32_t entry;                     /* 20: bytes of code that the first round leaves out */
    union {
        int8_t *out[NRW_PIXELS];        /* 24, 28 */
        int32_t *sums_of[NRW_PIXELS];   /* of a slice, [groups][4] */
    } to;
    uint32_t weights_skip;              /* 32: bytes between two groups' parts or slices */
    const int8_t *weights_end;          /* 36: of all groups */
    uint32_t offset[NRW_PIXELS];        /* 40, 44: 128 times the sum of the elements */
    int32_t zero_point;                 /* 48: nrw_finish_word */
    uint32_t act_min, act_max;          /* 52, 56: in each byte */
    uint32_t is_clamped;                /* 60: not to all of int8 */
    uint32_t finished;                  /* 64: channels of the last group that are, */
    int32_t last[NRW_GROUP][NRW_PIXELS]; /* 68: and the sums of the others, if some are not */
};

/* Computes groups of two pixels, until all are done or one has an odd channel (finish_dsp.h): then
 * `finished` is less than NRW_GROUP, and `channels` and `out` still point to that group. The values
 * that `last` has of finished channels are clamped to int8 only. */
void nrw_conv_sum_two_dsp(struct nrw_groups *groups);

/* The same for one pixel. */
void nrw_conv_sum_one_dsp(struct nrw_groups *groups);

/* Adds the products of a part of two pixels' windows to the sums of groups. */
void nrw_conv_add_two_dsp(struct nrw_groups *groups);

#endif
