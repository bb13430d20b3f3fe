/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cheapest stages for every number of bytes, for the planner.
 */
#ifndef NARROWS_FORMS_H
#define NARROWS_FORMS_H

#include <stdint.h>

/* cffi: begin */

/* One way to run the operators [first, end) as one stage. units: of bytes that it keeps. */
struct plan_option {
    int32_t first, end, units;
    float cost;
};

/* Which stages run the operators [start, end) at the least cost, for each end and each number of
 * units that they may keep together: a shortest path for each of them.
 *
 * options: ascending by end.
 * cost: float [ends][units]; ends = operators - start + 1, the first for no operators at all.
 *     Infinite if it cannot be done.
 * choice: int32 [ends][units], the option that comes last. */
void plan_forms(const struct plan_option *options, int32_t option_count, int32_t start,
                int32_t operators, int32_t units, float *cost, int32_t *choice);

/* cffi: end */

#endif
