/* SPDX-License-Identifier: Apache-2.0 */
#include "avx2.h"
#include "elementwise.h"

NRW_AVX2_INLINE __m256i load(const int8_t *data, int32_t zero_point)
{
    return _mm256_sub_epi32(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)data)),
                            _mm256_set1_epi32(zero_point));
}

NRW_AVX2_INLINE struct nrw_scale_avx2 scale_of(int32_t multiplier, int32_t shift)
{
    return nrw_scale_of_avx2(_mm256_set1_epi32(multiplier), _mm256_set1_epi32(shift));
}

/* Elements without gaps; what is left of less than NRW_LANES is the portable kernel's. */
NRW_AVX2 static void combine(const struct nrw_elementwise_op *op, const int8_t *a, const int8_t *b,
                             uint32_t count, int8_t *out)
{
    const struct nrw_range_avx2 range =
        nrw_range_of_avx2(op->out_zero_point, op->act_min, op->act_max);
    const struct nrw_scale_avx2 a_scale = scale_of(op->a_multiplier, op->a_shift);
    const struct nrw_scale_avx2 b_scale = scale_of(op->b_multiplier, op->b_shift);
    const struct nrw_scale_avx2 out_scale = scale_of(op->out_multiplier, op->out_shift);

    for (; count >= NRW_LANES; count -= NRW_LANES) {
        __m256i x = load(a, op->a_zero_point);
        __m256i y = load(b, op->b_zero_point);
        __m256i value;

        if (op->function == NRW_MUL) {
            value = _mm256_mullo_epi32(x, y);
        } else {
            x = nrw_requantize_avx2(_mm256_slli_epi32(x, op->left_shift), &a_scale);
            y = nrw_requantize_avx2(_mm256_slli_epi32(y, op->left_shift), &b_scale);
            value = op->function == NRW_ADD ? _mm256_add_epi32(x, y) : _mm256_sub_epi32(x, y);
        }
        nrw_store_avx2(out, nrw_requantize_avx2(value, &out_scale), &range);
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

void nrw_elementwise_avx2(const struct nrw_elementwise_op *op, const struct nrw_operand *a,
                          const struct nrw_operand *b, uint32_t pixels, uint32_t channels,
                          int8_t *out)
{
    if (nrw_has_avx2() && nrw_is_sum_or_product(op->function) &&
        nrw_is_dense(a, pixels, channels) && nrw_is_dense(b, pixels, channels)) {
        combine(op, a->data, b->data, pixels * channels, out);
    } else {
        nrw_elementwise_c(op, a, b, pixels, channels, out);
    }
}
