/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Additions of elements that stand side by side, in assembly: what does not change takes all
 * registers.
 */
#ifndef NARROWS_ADD_MVE_H
#define NARROWS_ADD_MVE_H

#include <stdint.h>

/* Operands, output and rounding. The assembly knows where each field stands. */
struct nrw_addition {
    const int8_t *a, *b;
    int8_t *out;                     /* may be a or b */
    int32_t a_factor, b_factor;      /* of the operands, */
    int32_t a_offset, b_offset;      /* and what is added before they are scaled */
    int32_t a_multiplier, b_multiplier;
    int32_t a_right, b_right;        /* -31 to 0 */
    int32_t multiplier, right;       /* of the sum, which has no shift to the left */
    int32_t a_round, b_round, round; /* -1 where something is shifted to the right, else 0 */
    int32_t zero_point;
    int32_t act_min, act_max;
};

/* count elements, 1 or more; nrw_add_scaled_rows does not scale a any further. */
void nrw_add_rows(const struct nrw_addition *addition, uint32_t count);
void nrw_add_scaled_rows(const struct nrw_addition *addition, uint32_t count);

#endif
