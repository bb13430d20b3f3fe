/* SPDX-License-Identifier: Apache-2.0 */
#include "forms.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

void plan_forms(const struct plan_option *options, int32_t option_count, int32_t start,
                int32_t operators, int32_t units, float *cost, int32_t *choice)
{
    const size_t size = (size_t)(operators - start + 1) * (size_t)units;

    for (size_t i = 0; i < size; i++) {
        cost[i] = i < (size_t)units ? 0.0f : INFINITY;
    }
    for (size_t i = 0; choice != NULL && i < size; i++) {
        choice[i] = -1;
    }
    for (int32_t k = 0; k < option_count; k++) {
        const struct plan_option *option = options + k;
        if (option->first < start || option->end > operators) {
            continue;
        }
        const float *before = cost + (ptrdiff_t)(option->first - start) * units;
        float *after = cost + (ptrdiff_t)(option->end - start) * units + option->units;
        const int32_t count = units - option->units;
        if (choice == NULL) {
            for (int32_t u = 0; u < count; u++) {
                const float total = before[u] + option->cost;
                after[u] = total < after[u] ? total : after[u];
            }
            continue;
        }
        int32_t *last = choice + (ptrdiff_t)(option->end - start) * units + option->units;
        for (int32_t u = 0; u < count; u++) {
            const float total = before[u] + option->cost;
            if (total < after[u]) {
                after[u] = total;
                last[u] = k;
            }
        }
    }
}

static int ascending(const void *a, const void *b)
{
    const struct plan_form *p = a;
    const struct plan_form *q = b;

    if (p->size != q->size) {
        return p->size < q->size ? -1 : 1;
    }
    return (p->cost > q->cost) - (p->cost < q->cost);
}

/* Whether no form with the same limit or less scratch, and no more units, is as cheap. */
static bool is_new(const float *cost, int32_t units, int32_t scratch, int32_t unit_count)
{
    const float own = cost[(ptrdiff_t)scratch * units + unit_count];

    if (!(own < INFINITY) ||
        (unit_count > 0 && cost[(ptrdiff_t)scratch * units + unit_count - 1] <= own)) {
        return false;
    }
    return scratch == 0 || cost[(ptrdiff_t)(scratch - 1) * units + unit_count] > own;
}

int32_t plan_front(const float *cost, const double *limits, int32_t limit_count, int32_t units,
                   double unit, double beside, double worthwhile, struct plan_form *found)
{
    int32_t count = 0;
    int32_t kept = 0;
    float least = INFINITY;

    for (int32_t k = 0; k < limit_count; k++) {
        for (int32_t u = 0; u < units; u++) {
            if (is_new(cost, units, k, u)) {
                const float own = cost[(ptrdiff_t)k * units + u];
                found[count++] = (struct plan_form){floor(beside + u * unit + limits[k]), own, k, u};
                least = own < least ? own : least;
            }
        }
    }
    qsort(found, (size_t)count, sizeof *found, ascending);
    for (int32_t i = 0; i < count; i++) {
        const double most = kept > 0 ? found[kept - 1].cost - worthwhile * least : INFINITY;
        if (found[i].cost < most) {
            found[kept++] = found[i];
        }
    }
    return kept;
}
