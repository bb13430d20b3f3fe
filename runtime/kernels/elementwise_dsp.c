/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sums and products of rows without broadcast, with the multipliers that a converter writes. All
 * else is left to the portable kernel.
 */
#include "dsp.h"
#include "elementwise.h"

/* A converter's left_shift, and its multiplier of the operand with the greater scale: a half. */
enum { SUM_SHIFT = 20, HALF = 1 << 30 };

/* value << 20 times multiplier and shift, for which (value << 21) * multiplier / 2^32 is divided by
 * 2^(less + 1). Halves of 0.5 and below are rounded as in nrw_shift_to_byte. */
struct addend {
    int32_t zero_point; /* << 21 */
    int32_t multiplier;
    int32_t rounding;
    uint32_t shift;
};

static int addend_of(struct addend *addend, int32_t zero_point, int32_t multiplier, int32_t shift)
{
    addend->zero_point = (int32_t)((uint32_t)zero_point << (SUM_SHIFT + 1));
    addend->multiplier = multiplier;
    addend->shift = (uint32_t)-shift;
    if (shift == 0 && multiplier == HALF) {
        /* Values of 9 bits, shifted by 21, times this are rounded to the value << 20. */
        addend->multiplier = INT32_MAX;
        addend->shift = 1;
    }
    addend->rounding = (int32_t)(UINT32_C(1) << ((addend->shift - 1) & 31u));
    return addend->shift >= 1 && addend->shift <= 31;
}

static inline int32_t add_of(const struct addend *addend, int8_t value)
{
    const int32_t x = (int32_t)((uint32_t)(int32_t)value << (SUM_SHIFT + 1)) - addend->zero_point;

    return nrw_add_high_product(addend->rounding + (x >> 31), x, addend->multiplier) >>
           addend->shift;
}

/* halved: the operand whose multiplier is a half. */
static void add_row(const int8_t *halved, int32_t zero_point, const int8_t *other,
                    struct addend addend, struct nrw_right_shift right, uint32_t count, int8_t *out)
{
    const int32_t offset = (int32_t)((uint32_t)zero_point << SUM_SHIFT);

#pragma GCC unroll 2
    for (uint32_t k = 0; k < count; k++) {
        const int32_t half = (int32_t)((uint32_t)(int32_t)halved[k] << SUM_SHIFT) - offset;

        out[k] = (int8_t)nrw_shift_twice_to_byte(
            &right, half + (int32_t)((uint32_t)add_of(&addend, other[k]) << 1));
    }
}

static void multiply_row(const int8_t *a, int32_t a_zero_point, const int8_t *b,
                         int32_t b_zero_point, struct nrw_right_shift right, uint32_t count,
                         int8_t *out)
{
#pragma GCC unroll 2
    for (uint32_t k = 0; k < count; k++) {
        out[k] = (int8_t)nrw_shift_to_byte(&right, (a[k] - a_zero_point) * (b[k] - b_zero_point));
    }
}

static int is_half(int32_t multiplier, int32_t shift)
{
    return multiplier == HALF && shift == 0;
}

/* Whole rows without gaps are one. */
static int is_dense(const struct nrw_operand *operand, uint32_t channels)
{
    return operand->pixel_stride == channels;
}

/* False: an operand of ADD has not the multiplier that it needs. */
static int addend_for(struct addend *addend, const struct nrw_elementwise_op *op, int a_is_half)
{
    if (op->function != NRW_ADD) {
        return op->function == NRW_MUL;
    }
    if (op->left_shift != SUM_SHIFT) {
        return 0;
    }
    if (a_is_half) {
        return addend_of(addend, op->b_zero_point, op->b_multiplier, op->b_shift);
    }
    return is_half(op->b_multiplier, op->b_shift) &&
           addend_of(addend, op->a_zero_point, op->a_multiplier, op->a_shift);
}

void nrw_elementwise_dsp(const struct nrw_elementwise_op *op, const struct nrw_operand *a,
                         const struct nrw_operand *b, uint32_t pixels, uint32_t channels,
                         int8_t *out)
{
    const int a_is_half = is_half(op->a_multiplier, op->a_shift);
    const int is_turned = op->function == NRW_ADD && !a_is_half;
    const struct nrw_operand *const first = is_turned ? b : a, *const second = is_turned ? a : b;
    const int32_t first_zero_point = is_turned ? op->b_zero_point : op->a_zero_point;
    const int8_t *first_row = first->data, *second_row = second->data;
    struct addend addend = {0, 0, 0, 0};
    struct nrw_right_shift right;

    if (a->channel_stride != 1 || b->channel_stride != 1 ||
        !addend_for(&addend, op, a_is_half) ||
        !nrw_right_shift_of(&right, op->out_multiplier, op->out_shift, op->out_zero_point)) {
        nrw_elementwise_c(op, a, b, pixels, channels, out);
        return;
    }
    if (is_dense(a, channels) && is_dense(b, channels)) {
        channels *= pixels;
        pixels = 1;
    }
    for (; pixels > 0; pixels--) {
        if (op->function == NRW_MUL) {
            multiply_row(first_row, first_zero_point, second_row, op->b_zero_point, right,
                         channels, out);
        } else {
            add_row(first_row, first_zero_point, second_row, addend, right, channels, out);
        }
        nrw_clamp_pixels(op->act_min, op->act_max, 1, channels, out, 0);
        first_row += first->pixel_stride;
        second_row += second->pixel_stride;
        out += channels;
    }
}
