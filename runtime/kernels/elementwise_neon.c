/* SPDX-License-Identifier: Apache-2.0 */
#include "elementwise.h"
#include "neon.h"

NRW_NEON_INLINE struct nrw_lanes_neon load(const int8_t *data, int32_t zero_point)
{
    const int16x8_t wide = vmovl_s8(vld1_s8(data));
    const int32x4_t zero = vdupq_n_s32(zero_point);
    const struct nrw_lanes_neon lanes = {vsubq_s32(vmovl_s16(vget_low_s16(wide)), zero),
                                         vsubq_s32(vmovl_high_s16(wide), zero)};

    return lanes;
}

NRW_NEON_INLINE struct nrw_scale_neon scale_of(int32_t multiplier, int32_t shift)
{
    return nrw_scale_of_neon(vdupq_n_s32(multiplier), vdupq_n_s32(shift));
}

/* How the operands and the result are scaled. */
struct scales {
    int32x4_t left;
    struct nrw_scale_neon a, b, out;
};

NRW_NEON_INLINE int32x4_t combine_lanes(int32_t function, int32x4_t x,
                                        int32x4_t y, const struct scales *scales)
{
    int32x4_t value;

    if (function == NRW_MUL) {
        value = vmulq_s32(x, y);
    } else {
        x = nrw_requantize_neon(vshlq_s32(x, scales->left), &scales->a);
        y = nrw_requantize_neon(vshlq_s32(y, scales->left), &scales->b);
        value = function == NRW_ADD ? nrw_add_neon(x, y) : nrw_add_neon(x, vnegq_s32(y));
    }
    return nrw_requantize_neon(value, &scales->out);
}

/* Elements without gaps; what is left of less than NRW_LANES is the portable kernel's. */
static void combine(const struct nrw_elementwise_op *op, const int8_t *a, const int8_t *b,
                    uint32_t count, int8_t *out)
{
    const struct nrw_range_neon range =
        nrw_range_of_neon(op->out_zero_point, op->act_min, op->act_max);
    const struct scales scales = {vdupq_n_s32(op->left_shift),
                                  scale_of(op->a_multiplier, op->a_shift),
                                  scale_of(op->b_multiplier, op->b_shift),
                                  scale_of(op->out_multiplier, op->out_shift)};

    for (; count >= NRW_LANES; count -= NRW_LANES) {
        const struct nrw_lanes_neon x = load(a, op->a_zero_point);
        const struct nrw_lanes_neon y = load(b, op->b_zero_point);
        const struct nrw_lanes_neon values = {
            combine_lanes(op->function, x.low, y.low, &scales),
            combine_lanes(op->function, x.high, y.high, &scales)};

        nrw_store_neon(out, values, &range);
        a += NRW_LANES;
        b += NRW_LANES;
        out += NRW_LANES;
    }
    if (count > 0) {
        const struct nrw_operand rest_of_a = {a, 0, 1};
        const struct nrw_operand rest_of_b = {b, 0, 1};

        nrw_elementwise_c(op, &rest_of_a, &rest_of_b, 1, count, out);
    }
}

void nrw_elementwise_neon(const struct nrw_elementwise_op *op, const struct nrw_operand *a,
                          const struct nrw_operand *b, uint32_t pixels, uint32_t channels,
                          int8_t *out)
{
    if (nrw_is_sum_or_product(op->function) && nrw_is_dense(a, pixels, channels) &&
        nrw_is_dense(b, pixels, channels)) {
        combine(op, a->data, b->data, pixels * channels, out);
    } else {
        nrw_elementwise_c(op, a, b, pixels, channels, out);
    }
}
