/* SPDX-License-Identifier: Apache-2.0 */
#include "conflicts.h"

#include <stdbool.h>
#include <stdlib.h>

enum { ALIGNMENT = 16 };

/* The slots [begin, end) of an item, and the firings between which it is in use. */
struct tenant {
    int32_t begin, end, first, last;
};

struct interval {
    int32_t low, high;
};

struct lives {
    const struct plan_slot *slots;
    const int32_t *first;
    const int32_t *last;
    struct interval *intervals; /* of one pair */
    size_t count, room;
};

static int32_t floor_aligned(int32_t value)
{
    const int32_t rest = value % ALIGNMENT;

    return value - (rest < 0 ? rest + ALIGNMENT : rest);
}

static int32_t start_of(const struct lives *l, const struct plan_slot *slot)
{
    return l->first[slot->begin];
}

static int32_t end_of(const struct lives *l, const struct plan_slot *slot)
{
    return l->last[slot->end - 1];
}

/* Whether two slots are ever in use together: each lifetime of the one with fewer is looked up
 * among those of the other. */
static bool meet(const struct lives *l, const struct plan_slot *p, const struct plan_slot *q)
{
    if (start_of(l, p) > end_of(l, q) || start_of(l, q) > end_of(l, p)) {
        return false;
    }
    const bool is_fewer = p->end - p->begin <= q->end - q->begin;
    const struct plan_slot *few = is_fewer ? p : q;
    const struct plan_slot *many = is_fewer ? q : p;
    for (int32_t i = few->begin; i < few->end; i++) {
        int32_t low = many->begin;
        int32_t high = many->end;
        while (low < high) {
            const int32_t middle = low + (high - low) / 2;
            if (l->last[middle] < l->first[i]) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if (low < many->end && l->first[low] <= l->last[i]) {
            return true;
        }
    }
    return false;
}

static bool append(struct lives *l, struct interval found)
{
    if (l->count == l->room) {
        const size_t room = 2 * l->room + 64;
        struct interval *more = realloc(l->intervals, room * sizeof *more);
        if (more == NULL) {
            return false;
        }
        l->intervals = more;
        l->room = room;
    }
    l->intervals[l->count++] = found;
    return true;
}

static int ascending(const void *a, const void *b)
{
    const struct interval *p = a;
    const struct interval *q = b;

    return (p->low > q->low) - (p->low < q->low);
}

/* Overlapping intervals become one. */
static void merge(struct lives *l)
{
    size_t count = 0;

    qsort(l->intervals, l->count, sizeof *l->intervals, ascending);
    for (size_t i = 0; i < l->count; i++) {
        const struct interval now = l->intervals[i];
        if (count > 0 && now.low < l->intervals[count - 1].high) {
            struct interval *before = l->intervals + count - 1;
            before->high = now.high > before->high ? now.high : before->high;
        } else {
            l->intervals[count++] = now;
        }
    }
    l->count = count;
}

/* The intervals of b's offset less that of a in which live bytes would overlap. */
static bool clash(struct lives *l, const struct tenant *a, const struct tenant *b)
{
    l->count = 0;
    for (int32_t i = a->begin; i < a->end; i++) {
        const struct plan_slot *p = l->slots + i;
        struct interval now = {0, 0};
        if (start_of(l, p) > b->last || b->first > end_of(l, p)) {
            continue;
        }
        for (int32_t j = b->end - 1; j >= b->begin; j--) {
            const struct plan_slot *q = l->slots + j;
            if (!meet(l, p, q)) {
                continue;
            }
            const int32_t low = floor_aligned(p->offset - q->offset - q->size);
            const int32_t high = floor_aligned(p->offset + p->size - q->offset + ALIGNMENT - 1);
            if (now.low == now.high) {
                now = (struct interval){low, high};
            } else if (low < now.high) {
                now.high = high > now.high ? high : now.high;
            } else {
                if (!append(l, now)) {
                    return false;
                }
                now = (struct interval){low, high};
            }
        }
        if (now.low != now.high && !append(l, now)) {
            return false;
        }
    }
    if (l->count > 1) {
        merge(l);
    }
    return true;
}

static void find_tenants(const struct lives *l, int32_t slot_count, struct tenant *tenants)
{
    for (int32_t i = 0; i < slot_count; i++) {
        const struct plan_slot *slot = l->slots + i;
        struct tenant *tenant = tenants + slot->item;
        const int32_t first = start_of(l, slot);
        const int32_t last = end_of(l, slot);
        if (tenant->end == 0) {
            *tenant = (struct tenant){i, i, first, last};
        }
        tenant->end = i + 1;
        tenant->first = first < tenant->first ? first : tenant->first;
        tenant->last = last > tenant->last ? last : tenant->last;
    }
}

int64_t plan_conflicts(const struct plan_slot *slots, int32_t slot_count, int32_t item_count,
                       const int32_t *first, const int32_t *last, struct plan_conflict *found,
                       int64_t room)
{
    struct lives l = {slots, first, last, NULL, 0, 0};
    struct tenant *tenants = calloc((size_t)item_count, sizeof *tenants);
    int64_t count = 0;

    if (tenants == NULL) {
        return -1;
    }
    find_tenants(&l, slot_count, tenants);
    for (int32_t b = 0; b < item_count && count >= 0; b++) {
        for (int32_t a = 0; a < b && count >= 0; a++) {
            if (tenants[a].first > tenants[b].last || tenants[b].first > tenants[a].last) {
                continue;
            }
            if (!clash(&l, tenants + a, tenants + b)) {
                count = -1;
                break;
            }
            for (size_t i = 0; i < l.count; i++, count++) {
                if (count < room) {
                    found[count] = (struct plan_conflict){b, a, l.intervals[i].low,
                                                          l.intervals[i].high};
                }
            }
        }
    }
    free(l.intervals);
    free(tenants);
    return count;
}
