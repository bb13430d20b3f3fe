/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>

#include "elementwise.h"
#include "requant_fast.h"

/* nrw_requantize of value * 2^left_shift for a value of 9 bits and shifts of 0 and below, without a
 * product of 64 bits: of the halves of the multiplier only the lower one is rounded. */
struct scale {
    int32_t zero_point;
    int32_t high, low; /* high * 2^bits + low is the multiplier */
    int32_t bits;      /* 31 - left_shift */
    int32_t right;     /* the shift of the second rounding */
    int32_t sign;      /* -1 if there is one, else 0 */
};

/* The least left_shift that keeps products with `low` in 31 bits. */
enum { LEAST_LEFT_SHIFT = 9 };

static struct scale scale_of(int32_t left_shift, int32_t zero_point, int32_t multiplier,
                             int32_t shift)
{
    const int32_t bits = 31 - left_shift;
    const struct scale scale = {zero_point, multiplier >> bits,
                                multiplier & (int32_t)((UINT32_C(1) << bits) - 1u), bits, -shift,
                                shift < 0 ? -1 : 0};

    return scale;
}

static inline int32_t scaled(const struct scale *scale, int32_t element)
{
    const int32_t value = element - scale->zero_point;
    const int32_t half = (int32_t)1 << (scale->bits - 1);
    const int32_t high = value * scale->high + ((value * scale->low + half) >> scale->bits);

    return (high + (high >> 31 & scale->sign) + (int32_t)(UINT32_C(1) << scale->right >> 1)) >>
           scale->right;
}

/* ADD of one pixel, with the shifts that quantized networks have. */
static void add_pixel(const struct nrw_elementwise_op *op, const struct scale *a_scale,
                      const int8_t *a, uint32_t a_stride, const struct scale *b_scale,
                      const int8_t *b, uint32_t b_stride, uint32_t channels, int8_t *out)
{
    /* Copies, which no store to out can change. */
    const int32_t multiplier = op->out_multiplier, right = -1 - op->out_shift;
    const int32_t zero_point = op->out_zero_point;
    const int32_t act_min = op->act_min, act_max = op->act_max;

    for (const int8_t *const end = out + channels; out < end; a += a_stride, b += b_stride) {
        *out++ = nrw_finish_right(scaled(a_scale, *a) + scaled(b_scale, *b), multiplier, right,
                                  zero_point, act_min, act_max);
    }
}

/* A converter's left_shift, and its multiplier of the operand with the greater scale. */
enum { SUM_SHIFT = 20, HALF = 1 << 30 };

/* The same of elements that stand side by side, of which one operand is exactly halved and the
 * other has a shift below 0. Value << 21 times the multiplier has the product in its upper word. */
static void add_halved(const struct nrw_elementwise_op *op, const int8_t *halved,
                       int32_t halved_zero_point, const int8_t *other, int32_t other_zero_point,
                       int32_t other_multiplier, int32_t other_shift, uint32_t count, int8_t *out)
{
    const int32_t multiplier = op->out_multiplier, right = -1 - op->out_shift;
    const int32_t zero_point = op->out_zero_point;
    const int32_t act_min = op->act_min, act_max = op->act_max;
    const uint32_t shift = (uint32_t)-other_shift;
    const int32_t half = (int32_t)(UINT32_C(1) << (shift - 1));
    const int32_t offset = halved_zero_point * (1 << (SUM_SHIFT - 1));

    for (const int8_t *const end = out + count; out < end;) {
        const int32_t value = (*other++ - other_zero_point) * (1 << (SUM_SHIFT + 1));
        const int32_t high =
            (int32_t)(((int64_t)value * other_multiplier + (INT64_C(1) << 31)) >> 32);
        const int32_t sum = *halved++ * (1 << (SUM_SHIFT - 1)) - offset +
                            ((high + (value >> 31) + half) >> shift);

        *out++ = nrw_finish_right(sum, multiplier, right, zero_point, act_min, act_max);
    }
}

static inline int is_half(const struct nrw_elementwise_op *op, int32_t multiplier, int32_t shift)
{
    return op->left_shift == SUM_SHIFT && multiplier == HALF && shift == 0;
}

static inline int is_dense(const struct nrw_operand *operand, uint32_t channels)
{
    return operand->channel_stride == 1 && operand->pixel_stride == channels;
}

/* ADD of rows without gaps. Returns 0 if neither operand is halved. */
static int add_rows(const struct nrw_elementwise_op *op, const int8_t *a, const int8_t *b,
                    uint32_t count, int8_t *out)
{
    if (is_half(op, op->a_multiplier, op->a_shift) && op->b_shift < 0) {
        add_halved(op, a, op->a_zero_point, b, op->b_zero_point, op->b_multiplier, op->b_shift,
                   count, out);
    } else if (is_half(op, op->b_multiplier, op->b_shift) && op->a_shift < 0) {
        add_halved(op, b, op->b_zero_point, a, op->a_zero_point, op->a_multiplier, op->a_shift,
                   count, out);
    } else {
        return 0;
    }
    return 1;
}

void nrw_elementwise_fast(const struct nrw_elementwise_op *op, const struct nrw_operand *a,
                          const struct nrw_operand *b, uint32_t pixels, uint32_t channels,
                          int8_t *out)
{
    const int usual = op->function == NRW_ADD && op->left_shift >= LEAST_LEFT_SHIFT &&
                      op->a_shift <= 0 && op->b_shift <= 0 && op->out_shift < -1;

    if (usual && is_dense(a, channels) && is_dense(b, channels) &&
        add_rows(op, a->data, b->data, pixels * channels, out)) {
        return;
    }
    if (usual) {
        const struct scale a_scale =
            scale_of(op->left_shift, op->a_zero_point, op->a_multiplier, op->a_shift);
        const struct scale b_scale =
            scale_of(op->left_shift, op->b_zero_point, op->b_multiplier, op->b_shift);

        for (uint32_t p = 0; p < pixels; p++, out += channels) {
            add_pixel(op, &a_scale, a->data + (size_t)p * a->pixel_stride, a->channel_stride,
                      &b_scale, b->data + (size_t)p * b->pixel_stride, b->channel_stride, channels,
                      out);
        }
    } else {
        nrw_elementwise_c(op, a, b, pixels, channels, out);
    }
}
