/* SPDX-License-Identifier: Apache-2.0 */
#include "place.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    ALIGNMENT = 16,
    RISE = 100,     /* orders that are tried before the ceiling rises */
    RESTART = 2000  /* orders that are tried before the search begins anew, by other chances */
};

/* A conflict, seen from one of its two items. */
struct limit {
    int32_t other, low, high;
};

struct placement {
    const int32_t *sizes;
    int32_t count;
    struct limit *limits; /* those of item i are [first[i], first[i + 1]) */
    int32_t *first;
    int32_t *order;   /* in which items are placed */
    bool *is_high;    /* items that are placed from the ceiling down */
    int32_t *offsets; /* -1: not placed yet */
    uint32_t random;
};

/* xorshift32 */
static uint32_t draw(struct placement *p)
{
    p->random ^= p->random << 13;
    p->random ^= p->random >> 17;
    p->random ^= p->random << 5;
    return p->random;
}

/* From `offset` on, up or down, the first one where an item may stand; below 0 if there is
 * none. */
static int32_t nearest(const struct placement *p, int32_t item, int32_t offset, bool is_down)
{
    bool is_moved = true;

    while (is_moved) {
        is_moved = false;
        for (int32_t k = p->first[item]; k < p->first[item + 1]; k++) {
            const struct limit *c = p->limits + k;
            const int32_t distance = offset - p->offsets[c->other];
            if (p->offsets[c->other] >= 0 && c->low < distance && distance < c->high) {
                offset = p->offsets[c->other] + (is_down ? c->low : c->high);
                is_moved = true;
            }
        }
    }
    return offset;
}

/* Place all; returns the item that ends highest above the ceiling, or -1. */
static int32_t fit(struct placement *p, int32_t ceiling)
{
    int32_t failed = -1;
    int32_t end = ceiling;

    memset(p->offsets, 0xFF, (size_t)p->count * sizeof *p->offsets);
    for (int32_t i = 0; i < p->count; i++) {
        const int32_t item = p->order[i];
        int32_t offset = -1;
        if (p->is_high[item] && ceiling >= p->sizes[item]) {
            const int32_t most = (ceiling - p->sizes[item]) / ALIGNMENT * ALIGNMENT;
            offset = nearest(p, item, most, true);
        }
        if (offset < 0) {
            offset = nearest(p, item, 0, false);
        }
        p->offsets[item] = offset;
        if (offset + p->sizes[item] > end) {
            failed = item;
            end = offset + p->sizes[item];
        }
    }
    return failed;
}

static int32_t end_of(const struct placement *p)
{
    int32_t end = 0;

    for (int32_t i = 0; i < p->count; i++) {
        end = p->offsets[i] + p->sizes[i] > end ? p->offsets[i] + p->sizes[i] : end;
    }
    return (end + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* What did not fit goes towards the front. */
static void move_forward(struct placement *p, int32_t failed)
{
    const uint32_t half = (uint32_t)p->count / 2 + 1;
    const int32_t place = draw(p) % 4 != 0 ? (int32_t)(draw(p) % half) : 0;
    int32_t at = 0;

    while (p->order[at] != failed) {
        at++;
    }
    for (; at > place; at--) {
        p->order[at] = p->order[at - 1];
    }
    for (; at < place; at++) {
        p->order[at] = p->order[at + 1];
    }
    p->order[place] = failed;
    p->is_high[failed] = draw(p) % 2 != 0;
}

static int32_t search(struct placement *p, const int32_t *orders, int32_t order_count,
                      int32_t bound, int32_t enough, int32_t rounds, int32_t *best)
{
    const size_t size = (size_t)p->count * sizeof *best;
    const int32_t step = (bound / 256 + ALIGNMENT) / ALIGNMENT * ALIGNMENT;
    const int32_t *start = orders;
    int32_t least = INT32_MAX;
    int32_t ceiling = bound;

    for (int32_t i = 0; i < order_count && least > bound; i++) {
        memcpy(p->order, orders + (size_t)i * (size_t)p->count, size);
        fit(p, bound);
        if (end_of(p) < least) {
            least = end_of(p);
            start = orders + (size_t)i * (size_t)p->count;
            memcpy(best, p->offsets, size);
        }
    }
    for (int32_t trial = 0; trial < rounds && least > bound && least > enough; trial++) {
        if (trial % RESTART == 0) {
            memcpy(p->order, start, size);
            memset(p->is_high, 0, (size_t)p->count * sizeof *p->is_high);
            ceiling = bound;
        }
        const int32_t failed = fit(p, ceiling);
        const int32_t end = end_of(p);
        if (end < least) {
            least = end;
            memcpy(best, p->offsets, size);
        }
        if (failed < 0) { /* it can be done below this ceiling: try halfway to what lives at once */
            ceiling = (bound + least) / 2 / ALIGNMENT * ALIGNMENT;
            continue;
        }
        if (trial % RISE == RISE - 1 && ceiling < least - ALIGNMENT) {
            ceiling = ceiling + step < least - ALIGNMENT ? ceiling + step : least - ALIGNMENT;
        }
        move_forward(p, failed);
    }
    return least;
}

/* Each item's limits, from the conflicts of pairs. */
static void list_limits(struct placement *p, const struct plan_conflict *conflicts, int32_t count)
{
    int32_t *end = p->first + 1; /* of those that have been listed */

    for (int32_t k = 0; k < count; k++) {
        for (int32_t side = 0; side < 2; side++) {
            const int32_t item = side == 0 ? conflicts[k].item : conflicts[k].other;
            if (item + 1 < p->count) {
                end[item + 1]++;
            }
        }
    }
    for (int32_t i = 1; i < p->count; i++) {
        end[i] += end[i - 1];
    }
    for (int32_t k = 0; k < count; k++) {
        const struct plan_conflict *c = conflicts + k;
        p->limits[end[c->item]++] = (struct limit){c->other, c->low, c->high};
        p->limits[end[c->other]++] = (struct limit){c->item, -c->high, -c->low};
    }
}

int32_t plan_place(const int32_t *sizes, int32_t count, const struct plan_conflict *conflicts,
                   int32_t conflict_count, const int32_t *orders, int32_t order_count,
                   int32_t bound, int32_t enough, int32_t rounds, int32_t *offsets)
{
    struct placement p = {sizes, count, NULL, NULL, NULL, NULL, NULL, 1};
    const size_t size = (size_t)count;
    int32_t end = -1;

    p.limits = malloc((2 * (size_t)conflict_count + 1) * sizeof *p.limits);
    p.first = calloc(size + 1, sizeof *p.first);
    p.order = malloc(size * sizeof *p.order);
    p.offsets = malloc(size * sizeof *p.offsets);
    p.is_high = calloc(size, sizeof *p.is_high);
    if (p.limits != NULL && p.first != NULL && p.order != NULL && p.offsets != NULL &&
        p.is_high != NULL) {
        list_limits(&p, conflicts, conflict_count);
        end = search(&p, orders, order_count, bound, enough, rounds, offsets);
    }
    free(p.limits);
    free(p.first);
    free(p.order);
    free(p.offsets);
    free(p.is_high);
    return end;
}
