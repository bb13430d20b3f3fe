/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which items of the arena live at the same time, for the planner.
 */
#ifndef NARROWS_CONFLICTS_H
#define NARROWS_CONFLICTS_H

#include <stdint.h>

/* cffi: begin */

/* Bytes [offset, offset + size) of an item, in use during the firings first[i] to last[i], both
 * included, for i in [begin, end); both ascend. */
struct plan_slot {
    int32_t item, offset, size, begin, end;
};

/* Where an item cannot stand: its offset less that of the other is not within (low, high). */
struct plan_conflict {
    int32_t item, other, low, high;
};

/* Every pair of items that live at the same time: item > other; multiples of 16.
 *
 * slots: by item, those of one item by offset. found: has room for so many.
 * Returns how many there are, maybe more than there is room for; -1 if memory has run out. */
int64_t plan_conflicts(const struct plan_slot *slots, int32_t slot_count, int32_t item_count,
                       const int32_t *first, const int32_t *last, struct plan_conflict *found,
                       int64_t room);

/* cffi: end */

#endif
