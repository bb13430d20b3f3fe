/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the convolution with Helium computes at a time.
 */
#ifndef NARROWS_CONV_MVE_H
#define NARROWS_CONV_MVE_H

#include "conv.h"
#include "dot_mve.h"

enum {
    GROUP = 4,     /* output channels of a vector of sums */
    PIXELS = 2,    /* computed together */
    VECTOR = 16,   /* bytes of a vector */
    WINDOW = 144,  /* bytes of a window that is copied: 3x3 of 16 channels */
    PADDING = 64,  /* bytes of padding that are read at a time */
    MOST_RUNS = 18, /* listed at a time */
    MOST_SINGLE_RUNS = 12
};

#define APART __attribute__((noinline))

/* Runs of inputs. */
struct runs {
    struct nrw_inputs list[MOST_RUNS + 1];
    uint32_t used;
    uint32_t count; /* bytes of each */
    uint32_t first; /* weight of the first */
    /* Where those are added that have no room in the list. NULL: there are none, as is known. */
    const struct nrw_products *all;
    int is_part;
};

/* What of windows stands on the stack: copies of as many as there is room for, or runs of them. */
union room {
    int8_t copies[PIXELS * WINDOW];
    struct {
        struct runs runs;
        int8_t padding[PADDING];
    } parts;
    struct {
        union {
            struct nrw_inputs pairs[NRW_WHOLE_RUNS];
            struct nrw_single_run singles[MOST_SINGLE_RUNS];
        } list;
        int8_t padding[NRW_WHOLE];
    } whole;
};

/* What is computed together: `pixels` pixels, 1 or 2, from column x on. */
struct pair {
    const struct nrw_conv_op *conv;
    const struct nrw_window *window;
    const int8_t *in[PIXELS]; /* the windows, if each is a row */
    int32_t x;
    uint32_t pixels;
    uint32_t depth; /* bytes of a window, and of an output channel's weights */
    int8_t *out;
    uint32_t out_stride;
    union room *room;
    int is_dense; /* whether all rows are there and stand side by side */
};

/* Output channels [0, count) of an operator or of a part of one. */
struct part {
    const struct nrw_channel *channels;
    const int8_t *weights;
    uint32_t count;
};

static inline int has_rest(const struct part *part)
{
    return part->count % GROUP > 0;
}

/* Whether each row of a window stands side by side in the input, unless padding is left or right of
 * it. */
static inline int is_dense(const struct nrw_window *window, uint32_t channels)
{
    return window->dilation_w == 1 && window->pixel_stride == channels;
}

/* Whether nrw_convolve_vectors is made for these windows and channels. */
static inline int has_vectors(const struct nrw_window *window, const struct nrw_rows *rows,
                              const struct part *part, uint32_t channels)
{
    return channels % VECTOR == 0 && window->kernel_w * channels <= NRW_WHOLE &&
           window->kernel_h <= NRW_WHOLE_RUNS && is_dense(window, channels) && !has_rest(part) &&
           rows->rounding != NRW_ANY;
}

/* The rows of a part's whole groups, to be moved on by the assembly. */
void nrw_begin_rows(struct nrw_rows *rows, const struct part *part, int8_t *out,
                    uint32_t out_stride);

/* Pixels [pair->x, x1) whose taps are whole vectors that stand side by side in up to three rows. */
void nrw_convolve_vectors(struct pair *pair, struct nrw_rows *rows, const struct part *part,
                          int32_t x1);

#endif
