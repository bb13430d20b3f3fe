/* SPDX-License-Identifier: Apache-2.0 */
#include "softmax.h"

static int32_t leading_zeros(uint32_t x)
{
    int32_t zeros = 0;

    for (; !(x >> 31); x <<= 1) {
        zeros++;
    }
    return zeros;
}

/* 1 / (1 + a) by three steps of Newton and Raphson. a and the result have 31 fraction bits,
 * the estimate has 29. */
static int32_t reciprocal(int32_t a)
{
    const int32_t half_denominator = (int32_t)(((uint32_t)a + (UINT32_C(1) << 31)) >> 1);
    /* 48/17 + half_denominator * -32/17 */
    int32_t x = 1515870810 + nrw_high_mul(half_denominator, -1010580540);

    for (int i = 0; i < 3; i++) {
        const int32_t error = (INT32_C(1) << 29) - nrw_high_mul(half_denominator, x);

        x += nrw_high_mul(x, error) * 4;
    }
    return x < INT32_C(1) << 30 ? x * 2 : INT32_MAX;
}

static void softmax_pixel(const int32_t *table, const int8_t *in, uint32_t channels, int8_t *out)
{
    int32_t maximum = in[0];
    uint32_t sum = 0;
    int32_t zeros;
    int32_t scale;

    for (uint32_t c = 1; c < channels; c++) {
        maximum = in[c] > maximum ? in[c] : maximum;
    }
    /* The index is taken modulo 256: a false plan may place the output over the input. */
    for (uint32_t c = 0; c < channels; c++) {
        sum += (uint32_t)nrw_rounding_shift(table[(uint8_t)(maximum - in[c])], 12);
    }
    /* The sum has 12 integer bits; a sum of 0 has only zeros to scale. */
    sum |= sum == 0;
    zeros = leading_zeros(sum);
    scale = reciprocal((int32_t)((sum << zeros) - (UINT32_C(1) << 31)));
    for (uint32_t c = 0; c < channels; c++) {
        const int32_t product = nrw_high_mul(scale, table[(uint8_t)(maximum - in[c])]);
        /* A shift by more than 31 bits leaves less than a half. */
        const int32_t value = zeros < 4 ? 0 : nrw_rounding_shift(product, 35 - zeros);

        out[c] = (int8_t)nrw_clamp(value - 128, -128, 127);
    }
}

void nrw_softmax_c(const int32_t *table, const int8_t *in, uint32_t pixels, uint32_t channels,
                   int8_t *out)
{
    for (; pixels > 0; pixels--, in += channels, out += channels) {
        softmax_pixel(table, in, channels, out);
    }
}
