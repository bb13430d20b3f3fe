/* SPDX-License-Identifier: Apache-2.0 */
#include "matmul.h"

void nrw_matmul_c(const struct nrw_elementwise_op *op, const int8_t *a, const int8_t *b,
                  uint32_t pixels, uint32_t depth, uint32_t columns, int8_t *out)
{
    for (; pixels > 0; pixels--, a += depth) {
        const int8_t *column = b;

        for (uint32_t c = 0; c < columns; c++) {
            uint32_t sum = 0;

            for (uint32_t k = 0; k < depth; k++) {
                sum += (uint32_t)((a[k] - op->a_zero_point) * (*column++ - op->b_zero_point));
            }
            const int32_t value = nrw_requantize((int32_t)sum, op->out_multiplier, op->out_shift);
            *out++ = (int8_t)nrw_clamp(nrw_wrapping_add(value, op->out_zero_point), op->act_min,
                                       op->act_max);
        }
    }
}

void nrw_arg_max_c(const int8_t *in, uint32_t pixels, uint32_t channels, uint32_t *out)
{
    for (; pixels > 0; pixels--, in += channels) {
        uint32_t best = 0;

        for (uint32_t c = 1; c < channels; c++) {
            best = in[c] > in[best] ? c : best;
        }
        *out++ = best;
    }
}
