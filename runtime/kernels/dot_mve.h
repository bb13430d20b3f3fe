/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of rows of weights and one or two rows of inputs, in assembly: their sums take all
 * general registers.
 */
#ifndef NARROWS_DOT_MVE_H
#define NARROWS_DOT_MVE_H

#include "../src/requant.h"

/* How sums are rounded. */
enum nrw_rounding {
    NRW_RIGHT_UP, /* no shift is above 0, and the clamp turns all that is below the zero point into
                     one value, so no negative number need be right */
    NRW_RIGHT,    /* all shifts are below 0 */
    NRW_ANY
};

/* Bytes of one or two pixels that meet the same weights; those of one pixel ignore in[1]. */
struct nrw_inputs {
    const int8_t *in[2];
};

/* The same of one pixel, as nrw_convolve_whole_1 has it. */
struct nrw_single_run {
    const int8_t *in;
    uint32_t bytes;
};

/* Rows of inputs, weights, and what becomes of their sums. The assembly knows where each field
 * stands, and moves the first ones on. */
struct nrw_rows {
    const struct nrw_channel *channels;
    int8_t *out[2];        /* of each pixel */
    const int8_t *weights; /* of the first output channel */
    uint32_t groups;       /* of four output channels, 1 or more */
    int32_t zero_point;    /* of the output */
    uint32_t rounding;     /* enum nrw_rounding */
    uint32_t stride;  /* from the weights of a channel to those of the next */
    const int8_t *in0;
    uint32_t passes; /* of the assembly alone */
    const int8_t *in1;
    uint32_t count; /* bytes of a row of inputs, 1 or more */
    int32_t act_min, act_max;
    uint32_t offsets[4]; /* from a channel to itself and the next three, in bytes */
    uint32_t repeats;    /* 1 or more: of pairs of pixels, of pixels of taps */
    uint32_t in_step;    /* from the inputs of one to those of the next, in bytes */
    uint32_t out_step;
    /* struct nrw_inputs that follow in0 and in1, of which the last one's in[0] is NULL; of
     * nrw_convolve_whole_* all inputs, those of one pixel as struct nrw_single_run. */
    void *runs;
    uint32_t run_count; /* of nrw_convolve_whole_* */
};

/* Outputs that all rows have in common. */
struct nrw_outputs {
    const struct nrw_channel *channels;
    uint32_t count; /* of the channels */
    int32_t zero_point, act_min, act_max;
    int32_t most_shift;   /* no channel has a higher one */
    uint32_t step;        /* from one channel of a group to the next */
    int32_t right_shifts; /* none is above that where all are to the right: 0 or -1 */
};

/* The highest shift of the channels. */
int32_t nrw_most_shift(const struct nrw_channel *channels, uint32_t count);

/* The fields of the rows that say what becomes of sums. */
static inline void nrw_rows_to(struct nrw_rows *rows, struct nrw_outputs outputs)
{
    const uint32_t bytes = outputs.step * (uint32_t)sizeof *outputs.channels;
    const int up = outputs.act_min >= outputs.zero_point;
    const int32_t most = up ? outputs.right_shifts : -1;
    /* A look at all channels is dear beside a short strip. */
    const int right = outputs.most_shift <= most ||
                      nrw_most_shift(outputs.channels, outputs.count) <= most;

    rows->zero_point = outputs.zero_point;
    rows->rounding = !right ? NRW_ANY : up ? NRW_RIGHT_UP : NRW_RIGHT;
    rows->act_min = outputs.act_min;
    rows->act_max = outputs.act_max;
    rows->offsets[0] = 0;
    rows->offsets[1] = bytes;
    rows->offsets[2] = 2 * bytes;
    rows->offsets[3] = 3 * bytes;
}

/* The most inputs of short rows. */
enum { NRW_SHORT = 32 };

/* Output channels of one pixel or of rows->repeats pairs of them, whose inputs are each a row;
 * nothing is read behind it. */
void nrw_convolve_1(struct nrw_rows *rows);
void nrw_convolve_2(struct nrw_rows *rows);

/* The same of inputs that are runs, of `count` bytes each, of one pixel or two. */
void nrw_convolve_runs_1(struct nrw_rows *rows);
void nrw_convolve_runs_2(struct nrw_rows *rows);

/* The most bytes of a run of nrw_convolve_whole_*, and the most runs of nrw_convolve_whole_2. */
enum { NRW_WHOLE = 192, NRW_WHOLE_RUNS = 3 };

/* The same of run_count runs, 1 or more, that are as long as a row of weights together, if the
 * rounding is not NRW_ANY; in0 and in1 are ignored. One pixel's runs are of any multiples of 16
 * bytes, and nothing is left of their list. Those of rows->repeats pairs have `count` bytes each, a
 * multiple of 16, and the next pair's stand in_step behind. A single run has any number of bytes. */
void nrw_convolve_whole_1(struct nrw_rows *rows);
void nrw_convolve_whole_2(struct nrw_rows *rows);

/* nrw_convolve_1 for whole vectors of inputs, up to four, whose rows of weights stand one behind
 * another, and nrw_convolve_2 for short rows, if the rounding is not NRW_ANY. */
void nrw_convolve_short_1(struct nrw_rows *rows);
void nrw_convolve_short_2(struct nrw_rows *rows);

/* Products of rows of weights with runs of inputs, which meet the weights one run after another:
 * sums[pixel][group * 4 + k] += weights[group * step + k * stride + i] * input i of the pixel,
 * modulo 2^32. Nothing is read behind a row or a run. The assembly knows where each field stands,
 * and moves sums, weights and groups. */
struct nrw_products {
    int32_t *sums[2]; /* of each pixel */
    const int8_t *weights;
    uint32_t stride, step;
    uint32_t groups;               /* 1 or more */
    const struct nrw_inputs *runs; /* 1 or more, and one whose in[0] is NULL */
    uint32_t count;                /* bytes of a run, 1 or more */
};

typedef void nrw_dot(struct nrw_products *products);

nrw_dot nrw_dot_1; /* of one pixel */
nrw_dot nrw_dot_2;

/* Output channels from such sums, to which their biases are added; those of one pixel ignore
 * sums1. */
void nrw_finish_1(const int32_t *sums0, const int32_t *sums1, struct nrw_rows *rows);
void nrw_finish_2(const int32_t *sums0, const int32_t *sums1, struct nrw_rows *rows);

#endif
