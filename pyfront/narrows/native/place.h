/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Offsets of items in the arena, for the planner.
 */
#ifndef NARROWS_PLACE_H
#define NARROWS_PLACE_H

#include "conflicts.h"

#include <stdint.h>

/* cffi: begin */

/* Offsets of items, multiples of 16, such that no two conflict and the highest ends low.
 *
 * One after the other, each as low or as high as it fits below a ceiling, which is `bound` at
 * first, rises where that is in vain, and falls where it was not. What did not fit goes further to
 * the front of the order, at either end of the arena. The same items give the same offsets.
 *
 * sizes: bytes of each item. orders: order_count permutations of the items, to begin with.
 * bound: no placement ends lower. enough: one that ends there need not be lower.
 * rounds: how many orders to try.
 * offsets: to be filled. Returns the end of the highest item, or -1 if memory has run out. */
int32_t plan_place(const int32_t *sizes, int32_t count, const struct plan_conflict *conflicts,
                   int32_t conflict_count, const int32_t *orders, int32_t order_count,
                   int32_t bound, int32_t enough, int32_t rounds, int32_t *offsets);

/* cffi: end */

#endif
