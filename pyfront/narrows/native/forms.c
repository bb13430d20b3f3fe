/* SPDX-License-Identifier: Apache-2.0 */
#include "forms.h"

#include <math.h>
#include <stddef.h>

void plan_forms(const struct plan_option *options, int32_t option_count, int32_t start,
                int32_t operators, int32_t units, float *cost, int32_t *choice)
{
    const size_t size = (size_t)(operators - start + 1) * (size_t)units;

    for (size_t i = 0; i < size; i++) {
        cost[i] = i < (size_t)units ? 0.0f : INFINITY;
        choice[i] = -1;
    }
    for (int32_t k = 0; k < option_count; k++) {
        const struct plan_option *option = options + k;
        if (option->first < start || option->end > operators) {
            continue;
        }
        const float *before = cost + (ptrdiff_t)(option->first - start) * units;
        float *after = cost + (ptrdiff_t)(option->end - start) * units;
        int32_t *last = choice + (ptrdiff_t)(option->end - start) * units;
        for (int32_t u = option->units; u < units; u++) {
            const float total = before[u - option->units] + option->cost;
            if (total < after[u]) {
                after[u] = total;
                last[u] = k;
            }
        }
    }
}
