/* SPDX-License-Identifier: Apache-2.0 */
#include "elementwise.h"

static int32_t combine(const struct nrw_elementwise_op *op, int32_t a, int32_t b)
{
    int32_t value;

    if (op->function == NRW_MAXIMUM || op->function == NRW_MINIMUM) {
        return nrw_clamp((a > b) == (op->function == NRW_MAXIMUM) ? a : b, op->act_min,
                         op->act_max);
    }
    a -= op->a_zero_point;
    b -= op->b_zero_point;
    if (op->function == NRW_PRELU && a >= 0) {
        value = nrw_requantize(a, op->a_multiplier, op->a_shift);
        return nrw_clamp(nrw_wrapping_add(value, op->out_zero_point), op->act_min, op->act_max);
    }
    if (op->function == NRW_MUL || op->function == NRW_PRELU) {
        value = a * b;
    } else {
        const int32_t one = (int32_t)1 << op->left_shift;

        a = nrw_requantize(a * one, op->a_multiplier, op->a_shift);
        b = nrw_requantize(b * one, op->b_multiplier, op->b_shift);
        value = (int32_t)(op->function == NRW_ADD ? (uint32_t)a + (uint32_t)b
                                                  : (uint32_t)a - (uint32_t)b);
        if (op->function == NRW_SQUARED_DIFFERENCE) {
            value = (int32_t)((uint32_t)value * (uint32_t)value);
        }
    }
    value = nrw_requantize(value, op->out_multiplier, op->out_shift);
    return nrw_clamp(nrw_wrapping_add(value, op->out_zero_point), op->act_min, op->act_max);
}

void nrw_elementwise_c(const struct nrw_elementwise_op *op, const struct nrw_operand *a,
                       const struct nrw_operand *b, uint32_t pixels, uint32_t channels,
                       int8_t *out)
{
    const int8_t *a_pixel = a->data;
    const int8_t *b_pixel = b->data;

    for (; pixels > 0; pixels--) {
        const int8_t *a_element = a_pixel;
        const int8_t *b_element = b_pixel;

        for (uint32_t c = 0; c < channels; c++) {
            *out++ = (int8_t)combine(op, *a_element, *b_element);
            a_element += a->channel_stride;
            b_element += b->channel_stride;
        }
        a_pixel += a->pixel_stride;
        b_pixel += b->pixel_stride;
    }
}
