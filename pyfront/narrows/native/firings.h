/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the planner wants to know of a stage, as the operators' own records say it. A stage that is
 * still to be placed stands in a sketch: a blob without lists and weights, that is the header, the
 * tensors, one stage that reads and writes them, and its parameters.
 */
#ifndef NARROWS_FIRINGS_H
#define NARROWS_FIRINGS_H

#include <stdint.h>

/* cffi: begin */

/* Bytes are multiples of 16, and UINT32_MAX where no arena can hold them. */
struct plan_outline {
    uint64_t macs_once;        /* multiply-accumulates of all firings, without repeated ones */
    uint32_t firings;
    uint32_t state_bytes;
    uint32_t scratch_bytes;    /* without wrapped rows */
    uint32_t segments[4];      /* per input, the most pixels of a row that are read side by side;
                                  0 where whole rows are */
    uint32_t wrapped_bytes[4]; /* per input, further scratch if its ring wraps rows */
    uint32_t columns_offset, columns_rows, columns_pitch, columns_carried;
                               /* struct nrw_state_columns */
};

/* Room for a value per firing; lo and hi per input. */
struct plan_firings {
    int32_t *lo[4], *hi[4];    /* pixels [lo, hi) that a firing needs */
    int32_t *given;            /* pixels of the output that are there after a firing */
    int64_t *macs;             /* multiply-accumulates of a firing */
};

/* sketch: at an address that divides by 8; trusted. tensors: how many it has. */
void plan_outline_of(const void *sketch, uint32_t tensors, struct plan_outline *outline);
void plan_firings_of(const void *sketch, uint32_t tensors, const struct plan_firings *firings);

/* cffi: end */

#endif
