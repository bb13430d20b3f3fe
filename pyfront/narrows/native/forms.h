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
 * choice: int32 [ends][units], the option that comes last; or NULL. */
void plan_forms(const struct plan_option *options, int32_t option_count, int32_t start,
                int32_t operators, int32_t units, float *cost, int32_t *choice);

/* A way to run some operators. scratch: number of its limit. units: of what it keeps. */
struct plan_form {
    double size;
    float cost;
    int32_t scratch, units;
};

/* The forms that none beats in size and cost, the smallest first; of those that cost nearly the
 * same, the smallest.
 *
 * cost: float [limit_count][units]. limits: bytes of scratch that each allows.
 * unit, beside: bytes of a unit, and of what stands beside in any form.
 * worthwhile: share of the least cost that a larger form must save.
 * found: room for limit_count * units forms. Returns how many there are. */
int32_t plan_front(const float *cost, const double *limits, int32_t limit_count, int32_t units,
                   double unit, double beside, double worthwhile, struct plan_form *found);

/* cffi: end */

#endif
