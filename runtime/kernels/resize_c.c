/* SPDX-License-Identifier: Apache-2.0 */
#include "resize.h"

enum { ONE = 1024 };

void nrw_resize_c(const int8_t *low, const int8_t *high, uint32_t fraction,
                  const struct nrw_sample *columns, uint32_t pixels, uint32_t channels,
                  int8_t *out)
{
    const int32_t fy = (int32_t)fraction;

    for (; pixels > 0; pixels--, columns++) {
        const int32_t fx = columns->fraction;
        const uint32_t left = columns->low * channels;
        const uint32_t right = left + (fx ? channels : 0);

        for (uint32_t c = 0; c < channels; c++) {
            const int32_t upper = low[left + c] * (ONE - fx) + low[right + c] * fx;
            const int32_t lower = high[left + c] * (ONE - fx) + high[right + c] * fx;
            const int32_t value = upper * (ONE - fy) + lower * fy;

            *out++ = (int8_t)((value + (value > 0 ? ONE * ONE / 2 : -ONE * ONE / 2)) /
                              (ONE * ONE));
        }
    }
}
