/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of a depthwise window, of 16 channels at a time.
 */
#ifndef NARROWS_TAPS_MVE_H
#define NARROWS_TAPS_MVE_H

#include <stddef.h>

#include "dot_mve.h"

/* Input and weights of a tap, of the next channel. */
struct nrw_tap {
    const int8_t *in; /* ignored of a tap that is padding */
    const int8_t *weights;
};

/* Where the taps of a window stand. The assembly knows where each field stands. */
struct nrw_tap_rows {
    struct nrw_tap *inside;       /* they are listed from here on, */
    struct nrw_tap *padding;      /* and those that are padding from here on backwards */
    const int8_t *const *rows;    /* NULL: all of a row's taps are padding */
    uint32_t count;               /* of the rows, 1 or more */
    const int8_t *weights;
    ptrdiff_t from;               /* from a row's pointer to the first tap that is inside */
    uint32_t before, some, after; /* taps of a row: padding, inside, padding; one or more in all */
    uint32_t step, weight_step;   /* from a tap's input and weights to the next one's */
};

/* Lists all taps. Returns the end of those that are inside. */
struct nrw_tap *nrw_list_taps(const struct nrw_tap_rows *rows);

/* Sums of 16 channels, negated; that of channel c stands at [c % 4][c / 4]. */
typedef int32_t nrw_tap_sums[4][4];

/* Subtracts from the sums in * weights of `inside` taps, and zero_point * weights of `padding`
 * taps that stand behind them; the sums stay within 32 bits. Moves the taps to the next 16
 * channels. Reads `channels` of these, and the sums of others mean nothing. */
void nrw_add_taps(nrw_tap_sums sums, struct nrw_tap *taps, uint32_t inside, uint32_t padding,
                  int32_t zero_point, uint32_t channels);

/* Outputs of 16 channels from such sums, to which their biases are added. The step of the rows is
 * 4. */
void nrw_finish_16(nrw_tap_sums sums, const struct nrw_rows *rows);

/* Both, from sums of 0, for 1 or more blocks of 16 channels of rows->repeats pixels. Each is
 * reached by moving the taps of the one before; changes the repeats, and what stands behind the
 * last tap if their number is odd. */
void nrw_filter(struct nrw_tap *taps, uint32_t inside, uint32_t padding, int32_t zero_point,
                uint32_t blocks, struct nrw_rows *rows);

#endif
