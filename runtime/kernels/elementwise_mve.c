/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addition, subtraction and multiplication with Helium, four elements at a time.
 */
#include <arm_mve.h>

#include "add_mve.h"
#include "elementwise.h"

enum { GROUP = 4 };

/* A multiplier and a shift that are the same for all elements. */
struct scale {
    int32_t multiplier, left, right;
    int32x4_t rounds; /* all bits where negative numbers lose 1 before they are shifted */
};

static inline struct scale scale_of(int32_t multiplier, int32_t shift, int32_t left_shift)
{
    const struct scale scale = {multiplier, left_shift + (shift > 0 ? shift : 0),
                                shift < 0 ? shift : 0, vdupq_n_s32(shift < 0 ? -1 : 0)};

    return scale;
}

static inline int32x4_t requantize(int32x4_t x, const struct scale *scale)
{
    int32x4_t high = vqrdmulhq_n_s32(vshlq_r_s32(x, scale->left), scale->multiplier);

    high = vaddq_s32(high, vandq_s32(vshrq_n_s32(high, 31), scale->rounds));
    return vrshlq_n_s32(high, scale->right);
}

/* Elements of one run, each of the operands side by side or one for all. */
static inline void combine(const struct nrw_elementwise_op *op, const int8_t *a, uint32_t a_stride,
                           const int8_t *b, uint32_t b_stride, uint32_t count, int8_t *out)
{
    const struct scale scale_a = scale_of(op->a_multiplier, op->a_shift, op->left_shift);
    const struct scale scale_b = scale_of(op->b_multiplier, op->b_shift, op->left_shift);
    const struct scale scale = scale_of(op->out_multiplier, op->out_shift, 0);
    const int32x4_t low = vdupq_n_s32(op->act_min);
    const int32x4_t high = vdupq_n_s32(op->act_max);

    for (uint32_t k = 0; k < count; k += GROUP) {
        const mve_pred16_t some = vctp32q(count - k);
        int32x4_t x = a_stride ? vldrbq_z_s32(a + k, some) : vdupq_n_s32(*a);
        int32x4_t y = b_stride ? vldrbq_z_s32(b + k, some) : vdupq_n_s32(*b);

        x = vsubq_n_s32(x, op->a_zero_point);
        y = vsubq_n_s32(y, op->b_zero_point);
        if (op->function == NRW_MUL) {
            x = vmulq_s32(x, y);
        } else {
            x = requantize(x, &scale_a);
            y = requantize(y, &scale_b);
            x = op->function == NRW_ADD ? vaddq_s32(x, y) : vsubq_s32(x, y);
        }
        x = vaddq_n_s32(requantize(x, &scale), op->out_zero_point);
        vstrbq_p_s32(out + k, vminq_s32(vmaxq_s32(x, low), high), some);
    }
}

/* Additions as quantized networks have them: their multipliers are at most 1. */
static inline int is_common(const struct nrw_elementwise_op *op)
{
    return op->function == NRW_ADD && op->a_shift <= 0 && op->b_shift <= 0 && op->out_shift <= 0;
}

/* Whether a multiplier halves what is shifted to the left: that is a smaller shift. */
static inline int is_half(const struct nrw_elementwise_op *op, int32_t multiplier, int32_t shift)
{
    return multiplier == 1 << 30 && shift == 0 && op->left_shift > 0;
}

/* left: the shift of the first operand. */
static inline void add_scaled(const struct nrw_elementwise_op *op, const int8_t *a, const int8_t *b,
                              int32_t left, uint32_t count, int8_t *out)
{
    const int32_t round = -1;
    const struct nrw_addition addition = {
        a, b, out, 1 << left, 1 << op->left_shift, -op->a_zero_point * (1 << left),
        -op->b_zero_point * (1 << op->left_shift), op->a_multiplier, op->b_multiplier,
        op->a_shift, op->b_shift, op->out_multiplier, op->out_shift,
        op->a_shift < 0 ? round : 0, op->b_shift < 0 ? round : 0, op->out_shift < 0 ? round : 0,
        op->out_zero_point, op->act_min, op->act_max};

    (left < op->left_shift ? nrw_add_scaled_rows : nrw_add_rows)(&addition, count);
}

/* The operand of the larger scale, as one of each sum has it, needs no product: it comes first. */
static void add(const struct nrw_elementwise_op *op, const int8_t *a, const int8_t *b,
                uint32_t count, int8_t *out)
{
    if (is_half(op, op->b_multiplier, op->b_shift)) {
        const struct nrw_elementwise_op swapped = {
            NRW_ADD, op->left_shift, op->b_zero_point, op->a_zero_point, op->out_zero_point,
            op->b_multiplier, op->b_shift, op->a_multiplier, op->a_shift, op->out_multiplier,
            op->out_shift, op->act_min, op->act_max};

        add_scaled(&swapped, b, a, op->left_shift - 1, count, out);
    } else {
        add_scaled(op, a, b, op->left_shift - is_half(op, op->a_multiplier, op->a_shift), count,
                   out);
    }
}

static inline int is_dense(const struct nrw_operand *operand, uint32_t channels)
{
    return operand->channel_stride == 1 && operand->pixel_stride == channels;
}

void nrw_elementwise_mve(const struct nrw_elementwise_op *op, const struct nrw_operand *a,
                         const struct nrw_operand *b, uint32_t pixels, uint32_t channels,
                         int8_t *out)
{
    const int8_t *a_pixel = a->data;
    const int8_t *b_pixel = b->data;

    if (!nrw_is_sum_or_product(op->function)) {
        nrw_elementwise_c(op, a, b, pixels, channels, out);
        return;
    }
    if (is_dense(a, channels) && is_dense(b, channels)) {
        channels *= pixels;
        pixels = pixels > 0;
        if (pixels > 0 && is_common(op)) {
            add(op, a->data, b->data, channels, out);
            return;
        }
    }
    for (; pixels > 0; pixels--, out += channels) {
        combine(op, a_pixel, a->channel_stride, b_pixel, b->channel_stride, channels, out);
        a_pixel += a->pixel_stride;
        b_pixel += b->pixel_stride;
    }
}
