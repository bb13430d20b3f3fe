/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random windows for kernels that have one, over the boundaries: single pixels, paddings
 * wider than the input, strides, dilations, rows of padding, gaps between pixels, tiles that
 * hold no column more than the run touches.
 */
#ifndef NARROWS_SAMPLE_WINDOW_H
#define NARROWS_SAMPLE_WINDOW_H

#include "kernels.h"

enum { SAMPLE_MAX_KERNEL = 7 };

struct sample_window {
    struct nrw_window window;
    const int8_t *rows[SAMPLE_MAX_KERNEL];
    int32_t x0, x1;      /* output columns to compute; may be none */
    uint32_t out_stride; /* at least `out_channels` */
};

enum sample_kind { SAMPLE_CONV, SAMPLE_3X3, SAMPLE_POOL };

/* A window over `channels` of random bytes in test_memory. SAMPLE_3X3: the usual one, with
 * dilation 1. SAMPLE_POOL: dilation 1, and each window holds at least one element. */
void sample_window(struct sample_window *sample, enum sample_kind kind, uint32_t channels,
                   uint32_t out_channels);

/* The pixel at tap (i, j) of output column x, or NULL if that is padding. */
const int8_t *sample_tap(const struct sample_window *sample, int32_t x, uint32_t i, uint32_t j);

/* Output memory for the run, filled with a pattern; sample_check_gaps fails if bytes between
 * the pixels have changed. */
int8_t *sample_output(const struct sample_window *sample, uint32_t out_channels);
void sample_check_gaps(const struct sample_window *sample, uint32_t out_channels,
                       const int8_t *out);

/* Bytes that such an output takes. */
size_t sample_output_bytes(const struct sample_window *sample, uint32_t out_channels);

/* A channel table, of lines as networks have them, of any, or of one of any among such as networks
 * have: kernels take a shorter way where a proof allows it. */
struct nrw_channel *sample_channels(uint32_t count);

/* The highest of their shifts, or any that is higher. */
int32_t sample_most_shift(const struct nrw_channel *channels, uint32_t count);

/* Gives a channel its prescale if it may have one: its weights are `count` bytes, `step` apart. Now
 * and then it gets the greatest bias with which it may. */
void sample_prescale(struct nrw_channel *channel, const int8_t *weights, size_t step, size_t count);

/* A channel table with prescales, for weights of `bytes` bytes. */
struct nrw_channel *sample_depthwise_channels(const int8_t *weights, size_t bytes,
                                              uint32_t channels);

/* An output's zero point: that of a ReLU half of the time. */
int32_t sample_zero_point(void);

/* The clamp of an activation: none half of the time. */
void sample_clamp(int32_t *act_min, int32_t *act_max);

#endif
