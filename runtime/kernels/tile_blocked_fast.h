/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The innermost loops of convolutions without SIMD instructions: groups of eight sums, which with
 * their operands fill the registers of a Cortex-M3. They are those of four output channels of two
 * pixels, or of eight of one pixel, and go from registers to outputs. In portable C, and in
 * assembly for Thumb-2, where compilers leave some of the sums in memory.
 */
#ifndef NARROWS_KERNELS_TILE_BLOCKED_FAST_H
#define NARROWS_KERNELS_TILE_BLOCKED_FAST_H

#include "../src/requant.h"
#include "layouts.h"

enum { NRW_TILE_PIXELS = 2, NRW_TILE_SUMS = 8 };

/* How a stretch's weights stand: in blocks of four elements, and how many of them are beyond a
 * multiple of four; as the first one, two or three elements of a block; each as the only element of
 * its block; or as the first three elements of blocks whose number is a multiple of three, of which
 * all elements have their places. */
enum nrw_stretch_kind {
    NRW_STRETCH_BLOCKS,
    NRW_STRETCH_ONE = 4,
    NRW_STRETCH_TWO,
    NRW_STRETCH_THREE,
    NRW_STRETCH_SPARSE,
    NRW_STRETCH_THREES
};

/* Elements of a window that stand side by side, as their weights do; those of the next stretch are
 * in the block behind. The assembly knows the places of the fields. */
struct nrw_stretch {
    const int8_t *in[NRW_TILE_PIXELS]; /* 0, 4: of each pixel */
    uint32_t weight_bytes;             /* 8: 16 a block, or 1 an element of a part of one */
    uint32_t kind;                     /* 12: enum nrw_stretch_kind */
};

/* What the loops read and move on. The assembly knows the places of the fields. */
struct nrw_tiles {
    const int8_t *weights;              /* 0: of the next group */
    const struct nrw_channel *channels; /* 4: of the next group, */
    const struct nrw_channel *end;      /* 8: which is the last one if they reach to there */
    int8_t *out[NRW_TILE_PIXELS];       /* 12, 16: of the next group */
    const struct nrw_stretch *begin;    /* 20: the windows, at least one stretch */
    const struct nrw_stretch *behind;   /* 24 */
    int32_t rounding;                   /* 28: nrw_finish_word */
    uint32_t second_half;               /* 32: bytes from the weights of a pixel's first four output
                                         * channels to those of the other four; 0: the same */
    uint32_t finished;                  /* 36: channels of the last group that are, */
    int32_t last[NRW_TILE_SUMS];        /* 40: and the sums of the others, if some are not */
};

/* Computes groups of four output channels of two pixels, until all are done or one has a channel
 * that needs requant.h; a channel without multiplier and prescale always does. Then `finished` is
 * less than four, and `channels` and `out` still point to that group, but `weights` to the next
 * one. Outputs, and what `last` has of finished channels, are clamped to int8 only. last:
 * [pixel][channel], sums with their bias. */
void nrw_tiles_of_two(struct nrw_tiles *tiles);

/* The same of groups of eight output channels of one pixel. */
void nrw_tiles_of_one(struct nrw_tiles *tiles);

#endif
