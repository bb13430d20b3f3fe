/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the depthwise kernels with DSP instructions share. depth_multiplier is 1, and channels come
 * in fours.
 */
#ifndef NARROWS_KERNELS_DEPTHWISE_DSP_H
#define NARROWS_KERNELS_DEPTHWISE_DSP_H

#include "depthwise.h"

/* --- Four channels of a pixel --------------------------------------------------------------- */

/* Zero points stand beside a table, for the taps that are padding: a table with such serves so many
 * channels. */
enum { NRW_PADDED_CHANNELS = 32 };

/* A pixel's taps, as NRW_ALL_TAPS reads them; the assembler code knows the offsets. */
struct nrw_taps_read {
    const int8_t **taps;         /* where the first channel of each stands */
    const int8_t *const *threes; /* the part of the table that is taken three by three, */
    const int8_t *weights;       /* of the first tap */
    uint32_t weight_step;        /* to the next tap */
    const int8_t *const *end;    /* up to its end */
};

struct nrw_tap_table {
    struct nrw_taps_read read;
    uint32_t zero_points[NRW_PADDED_CHANNELS / 4]; /* bytes */
};

/* The products of four channels at a tap, whose weights stand at `weights`: sums r4 to r7. r12: the
 * channel. */
#define NRW_TAP(weights)                        \
    "ldr r1, [r8], #4\n\t"                  \
    "ldr r2, [r1, r12]\n\t"                 \
    "ldr lr, [" weights "]\n\t"             \
    "sxtb16 r1, r2\n\t"                     \
    "sxtb16 r2, r2, ror #8\n\t"             \
    "sxtb16 r3, lr\n\t"                     \
    "sxtb16 lr, lr, ror #8\n\t"             \
    "smlabb r4, r1, r3, r4\n\t"             \
    "smlabb r5, r2, lr, r5\n\t"             \
    "smlatt r6, r1, r3, r6\n\t"             \
    "smlatt r7, r2, lr, r7\n\t"

/* All taps, of which r8 walks through the table, up to its threes and then up to its end. */
#define NRW_ALL_TAPS                            \
    "cmp r8, r9\n\t"                        \
    "beq 3f\n"                              \
    "2:\n\t"                                \
    NRW_TAP("r10")                              \
    "add r10, r10, r11\n\t"                 \
    "cmp r8, r9\n\t"                        \
    "bne 2b\n"                              \
    "3:\n\t"                                \
    "ldr r9, [r0, #16]\n\t"                 \
    "cmp r8, r9\n\t"                        \
    "beq 9f\n"                              \
    "4:\n\t"                                \
    NRW_TAP("r10")                              \
    NRW_TAP("r10, r11")                         \
    NRW_TAP("r10, r11, lsl #1")                 \
    "add r10, r10, r11\n\t"                 \
    "add r10, r10, r11, lsl #1\n\t"         \
    "cmp r8, r9\n\t"                        \
    "bne 4b\n"                              \
    "9:\n\t"

/* taps: memory for those of a window. */
void nrw_start_table(struct nrw_tap_table *table, const int8_t **taps, uint32_t weight_step,
                     int32_t zero_point, const struct nrw_window *window);

/* The taps of output pixel x, from channel c of the window's on, and their weights. Returns how
 * many channels the table serves: `count`, or less if some taps are padding. */
uint32_t nrw_fill_table(struct nrw_tap_table *table, const struct nrw_window *window, int32_t x,
                        uint32_t c, uint32_t count, const int8_t *weights);

/* The same taps in entries that stand `step` pointers apart. */
uint32_t nrw_fill_taps(const int8_t **tap, size_t step, const uint32_t *zero_points,
                       const struct nrw_window *window, int32_t x, uint32_t c, uint32_t count);

/* The bytes beside a table. */
void nrw_fill_zero_points(uint32_t zero_points[NRW_PADDED_CHANNELS / 4], int32_t zero_point);

/* --- Parts of nrw_depthwise_dsp -------------------------------------------------------------- */

/* A strip of whole fours of channels, which are clamped to int8 only. */
struct nrw_depthwise_strip {
    const struct nrw_window *window;
    int32_t x0, x1;
    const int8_t *weights; /* of its first channel */
    uint32_t weight_step;  /* to the next tap */
    const struct nrw_channel *channels;
    int32_t in_zero_point, out_zero_point;
    int32_t zero_point; /* the output's, as nrw_finish_word */
    int8_t *out;
    uint32_t out_stride;
};

/* A quicker way to channels [c, end) of some strips. Returns the first of four channels of
 * which one is odd (finish_dsp.h), or `end`. */
typedef uint32_t nrw_depthwise_way(const struct nrw_depthwise_strip *strip, uint32_t c,
                                   uint32_t end);

/* Taps of windows of 3x3, 5x5 and 7x7, whose tables take so much stack. */
enum { NRW_FEW_TAPS = 9, NRW_MORE_TAPS = 25, NRW_MOST_TAPS = 49 };

/* Two pixels at a time: x1 = x0 + 2. */
nrw_depthwise_way nrw_depthwise_two_few_dsp, nrw_depthwise_two_more_dsp, nrw_depthwise_two_most_dsp;

/* Four pixels at a time, or three: x1 = x0 + 4 or x0 + 3. */
int nrw_depthwise_has_fours(const struct nrw_window *window);
nrw_depthwise_way nrw_depthwise_four_dsp;

#endif
