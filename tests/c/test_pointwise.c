/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rounding, and the kernels without a window.
 */
#include <string.h>

#include "kernels.h"
#include "test.h"
#include "tests.h"

void test_rounding(void)
{
    static const int32_t values[] = {INT32_MIN, INT32_MIN + 1, -1000, -10, -3, -2, -1, 0,
                                     1, 2, 3, 10, 1000, INT32_MAX - 1, INT32_MAX};
    static const int32_t multipliers[] = {0, 1, (1 << 30) - 1, 1 << 30, (1 << 30) + 1,
                                          INT32_MAX - 1, INT32_MAX};

    test_case("the specification's worked examples");
    EXPECT_EQUAL(nrw_requantize(1000, 1073741824, -2), 125);
    EXPECT_EQUAL(nrw_requantize(-3, 1073741824, 0), -1);
    EXPECT_EQUAL(nrw_requantize(3, 1073741824, 0), 2);
    EXPECT_EQUAL(nrw_requantize(-10, 2147483647, -2), -3);
    for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
        for (size_t m = 0; m < sizeof multipliers / sizeof multipliers[0]; m++) {
            for (int32_t shift = -31; shift <= 30; shift++) {
                test_case("requantize(%d, %d, %d)", (int)values[v], (int)multipliers[m],
                          (int)shift);
                EXPECT_EQUAL(nrw_requantize(values[v], multipliers[m], shift),
                             reference_requantize(values[v], multipliers[m], shift));
            }
        }
    }
    for (int i = 0; i < 20 * TEST_CASES; i++) {
        const int32_t x = test_any_int32();
        const int32_t multiplier = test_multiplier();
        const int32_t shift = test_shift();

        test_case("requantize(%d, %d, %d)", (int)x, (int)multiplier, (int)shift);
        EXPECT_EQUAL(nrw_requantize(x, multiplier, shift),
                     reference_requantize(x, multiplier, shift));
    }
}

/* --- Elementwise ---------------------------------------------------------------------------- */

static int32_t combine(const struct nrw_elementwise_op *op, int32_t a, int32_t b)
{
    const int32_t power = (int32_t)1 << op->left_shift;
    int64_t value;

    if (op->function == NRW_MAXIMUM || op->function == NRW_MINIMUM) {
        const int32_t least = a < b ? a : b;

        value = op->function == NRW_MINIMUM ? least : a + b - least;
        value = value < op->act_min ? op->act_min : value;
        return value > op->act_max ? op->act_max : (int32_t)value;
    }
    a -= op->a_zero_point;
    b -= op->b_zero_point;
    if (op->function == NRW_PRELU && a >= 0) {
        return reference_output(a, op->a_multiplier, op->a_shift, op->out_zero_point, op->act_min,
                                op->act_max);
    }
    if (op->function == NRW_MUL || op->function == NRW_PRELU) {
        value = (int64_t)a * b;
    } else {
        const int64_t scaled_a = reference_requantize(a * power, op->a_multiplier, op->a_shift);
        const int64_t scaled_b = reference_requantize(b * power, op->b_multiplier, op->b_shift);

        value = op->function == NRW_ADD ? scaled_a + scaled_b : scaled_a - scaled_b;
        if (op->function == NRW_SQUARED_DIFFERENCE) {
            const uint32_t wrapped = (uint32_t)value;

            value = (int32_t)(wrapped * wrapped);
        }
    }
    return reference_output(value, op->out_multiplier, op->out_shift, op->out_zero_point,
                            op->act_min, op->act_max);
}

static struct nrw_operand random_operand(uint32_t pixels, uint32_t channels)
{
    struct nrw_operand operand;
    const int32_t kind = test_between(0, 4);
    size_t count;
    int8_t *data;

    operand.channel_stride = kind == 0 || kind == 1 ? 0 : 1;
    operand.pixel_stride = kind == 0 || kind == 2 ? 0 : operand.channel_stride ? channels : 1;
    count = (size_t)(pixels - 1) * operand.pixel_stride +
            (channels - 1) * operand.channel_stride + 1;
    data = test_memory(count, 1);
    test_fill(data, count);
    operand.data = data;
    return operand;
}

/* The multipliers that a converter writes for ADD: a half for the operand with the greater scale,
 * less for the other; and for any function, an output's shift to the right. */
static void usual_multipliers(struct nrw_elementwise_op *op)
{
    const int halves = test_between(1, 3);

    op->left_shift = 20;
    op->a_multiplier = halves & 1 ? 1 << 30 : test_between(1 << 30, INT32_MAX);
    op->b_multiplier = halves & 2 ? 1 << 30 : test_between(1 << 30, INT32_MAX);
    op->a_shift = halves & 1 ? 0 : test_between(-31, -1);
    op->b_shift = halves & 2 ? 0 : test_between(-31, -1);
    op->out_shift = test_between(-23, op->function == NRW_MUL ? -1 : -14);
}

static void elementwise_case(nrw_elementwise_kernel *kernel, const char *name)
{
    static const int32_t left_shifts[] = {0, 1, 8, 9, 19, 20, 20, 20};
    const uint32_t pixels = (uint32_t)test_between(1, 4);
    const uint32_t channels = (uint32_t)test_between(1, 19);
    struct nrw_elementwise_op op;
    struct nrw_operand a = random_operand(pixels, channels);
    struct nrw_operand b = random_operand(pixels, channels);
    int8_t *const out = test_memory(pixels * channels, 1);
    int8_t *const copy = test_memory(pixels * channels, 1);

    op.function = test_between(NRW_ADD, NRW_SQUARED_DIFFERENCE);
    op.left_shift = TEST_PICK(left_shifts);
    op.a_zero_point = test_between(-128, 127);
    op.b_zero_point = test_between(-128, 127);
    op.out_zero_point = test_between(-128, 127);
    op.a_multiplier = test_multiplier();
    op.b_multiplier = test_multiplier();
    op.out_multiplier = test_multiplier();
    op.a_shift = test_shift();
    op.b_shift = test_shift();
    op.out_shift = test_shift();
    if (test_between(0, 1)) {
        usual_multipliers(&op);
    }
    op.act_min = test_between(0, 1) ? -128 : test_between(-128, 127);
    op.act_max = test_between(0, 1) ? 127 : test_between(op.act_min, 127);
    test_case("%s: function %d, pixels %d, channels %d, strides %d %d and %d %d", name,
              (int)op.function, (int)pixels, (int)channels, (int)a.pixel_stride,
              (int)a.channel_stride, (int)b.pixel_stride, (int)b.channel_stride);
    kernel(&op, &a, &b, pixels, channels, out);
    for (uint32_t p = 0; p < pixels; p++) {
        for (uint32_t c = 0; c < channels; c++) {
            EXPECT_EQUAL(out[p * channels + c],
                         combine(&op, a.data[p * a.pixel_stride + c * a.channel_stride],
                                 b.data[p * b.pixel_stride + c * b.channel_stride]));
        }
    }
    /* In place. */
    if (a.channel_stride == 1 && a.pixel_stride == channels) {
        memcpy(copy, a.data, pixels * channels);
        a.data = copy;
        kernel(&op, &a, &b, pixels, channels, copy);
        EXPECT(memcmp(copy, out, pixels * channels) == 0);
    }
    test_release();
}

/* Sums of nothing and of halves, in units of the last place. */
static void ties_case(nrw_elementwise_kernel *kernel, const char *name)
{
    enum { VALUES = 256 };
    static const int8_t zero[VALUES];
    int8_t values[VALUES], out[VALUES];
    const struct nrw_operand a = {zero, VALUES, 1}, b = {values, VALUES, 1};

    for (int32_t v = 0; v < VALUES; v++) {
        values[v] = (int8_t)(v - 128);
    }
    for (int32_t shift = -24; shift <= -16; shift++) {
        const struct nrw_elementwise_op op = {NRW_ADD, 20, 0, 0, 0, 1 << 30, 0, 1 << 30, shift,
                                              1 << 30, -1, -128, 127};

        kernel(&op, &a, &b, 1, VALUES, out);
        for (int32_t v = 0; v < VALUES; v++) {
            test_case("%s: 0 + %d, shift %d", name, (int)values[v], (int)shift);
            EXPECT_EQUAL(out[v], combine(&op, 0, values[v]));
        }
    }
}

void test_elementwise(void)
{
#define RUN(suffix) ties_case(nrw_elementwise_##suffix, "nrw_elementwise_" #suffix);
    NRW_ELEMENTWISE_VARIANTS(RUN)
#undef RUN
    for (int i = 0; i < 2 * TEST_CASES; i++) {
#define RUN(suffix) elementwise_case(nrw_elementwise_##suffix, "nrw_elementwise_" #suffix);
        NRW_ELEMENTWISE_VARIANTS(RUN)
#undef RUN
    }
}

/* --- Softmax -------------------------------------------------------------------------------- */

static int64_t high_multiply(int64_t a, int64_t b)
{
    const int64_t product = a * b;

    return (product + (product >= 0 ? INT64_C(1) << 30 : 1 - (INT64_C(1) << 30))) /
           (INT64_C(1) << 31);
}

static int64_t rounding_divide(int64_t value, int32_t exponent)
{
    const int64_t magnitude = value < 0 ? -value : value;
    const int64_t power = INT64_C(1) << exponent;
    const int64_t quotient = (magnitude + power / 2) / power;

    return value < 0 ? -quotient : quotient;
}

static void softmax_reference(const int32_t *table, const int8_t *in, uint32_t channels,
                              int8_t *out)
{
    const int64_t two_31 = INT64_C(1) << 31;
    int32_t maximum = -128;
    int64_t sum = 0;
    int64_t a, d, r;
    int32_t zeros = 0;

    for (uint32_t c = 0; c < channels; c++) {
        maximum = in[c] > maximum ? in[c] : maximum;
    }
    for (uint32_t c = 0; c < channels; c++) {
        sum += rounding_divide(table[maximum - in[c]], 12);
    }
    sum = (int64_t)(uint32_t)reference_wrap(sum);
    sum = sum == 0 ? 1 : sum;
    while (zeros < 31 && (sum << zeros) < two_31) {
        zeros++;
    }
    a = (sum << zeros) - two_31;
    d = (a + two_31) / 2;
    r = 1515870810 + high_multiply(d, -1010580540);
    for (int i = 0; i < 3; i++) {
        r += 4 * high_multiply(r, (INT64_C(1) << 29) - high_multiply(d, r));
    }
    r = 2 * r > two_31 - 1 ? two_31 - 1 : 2 * r;
    for (uint32_t c = 0; c < channels; c++) {
        const int64_t product = high_multiply(r, table[maximum - in[c]]);
        const int64_t value = zeros < 4 ? -128 : rounding_divide(product, 35 - zeros) - 128;

        out[c] = (int8_t)(value < -128 ? -128 : value > 127 ? 127 : value);
    }
}

static void softmax_case(nrw_softmax_kernel *kernel, const char *name)
{
    static const uint32_t channel_counts[] = {1, 2, 3, 10, 100, 600, 3000};
    const uint32_t pixels = (uint32_t)test_between(1, 3);
    const uint32_t channels = TEST_PICK(channel_counts);
    const int32_t kind = test_between(0, 3);
    int8_t *const in = test_memory(pixels * channels, 1);
    int8_t *const out = test_memory(pixels * channels, 1);
    int8_t *const expected = test_memory(channels, 1);
    int32_t *const table = test_memory(256 * sizeof *table, 4);

    test_fill(in, pixels * channels);
    table[0] = INT32_MAX;
    for (int32_t i = 1; i < 256; i++) {
        /* Steep or slow decay; or values that no exponential has. */
        table[i] = kind == 0   ? table[i - 1] / 2
                   : kind == 1 ? table[i - 1] - table[i - 1] / 64
                   : kind == 2 ? test_any_int32()
                               : 0;
    }
    test_case("%s: table %d, pixels %d, channels %d", name, (int)kind, (int)pixels,
              (int)channels);
    kernel(table, in, pixels, channels, out);
    for (uint32_t p = 0; p < pixels; p++) {
        softmax_reference(table, in + p * channels, channels, expected);
        for (uint32_t c = 0; c < channels; c++) {
            EXPECT_EQUAL(out[p * channels + c], expected[c]);
        }
    }
    kernel(table, in, pixels, channels, in);
    EXPECT(memcmp(in, out, pixels * channels) == 0);
    test_release();
}

void test_softmax(void)
{
    for (int i = 0; i < TEST_CASES; i++) {
#define RUN(suffix) softmax_case(nrw_softmax_##suffix, "nrw_softmax_" #suffix);
        NRW_SOFTMAX_VARIANTS(RUN)
#undef RUN
    }
}

/* --- Matrices ------------------------------------------------------------------------------- */

static void matmul_case(nrw_matmul_kernel *kernel, const char *name)
{
    static const uint32_t depths[] = {1, 2, 3, 4, 7, 8, 9, 16, 33, 300};
    const uint32_t pixels = (uint32_t)test_between(1, 5);
    const uint32_t columns = (uint32_t)test_between(1, 9);
    const uint32_t depth = TEST_PICK(depths);
    int8_t *const a = test_memory(pixels * depth, 1);
    int8_t *const b = test_memory(columns * depth, 1);
    int8_t *const out = test_memory(pixels * columns, 1);
    struct nrw_elementwise_op op = {.function = NRW_MUL};

    test_fill(a, pixels * depth);
    test_fill(b, columns * depth);
    op.a_zero_point = test_between(-128, 127);
    op.b_zero_point = test_between(-128, 127);
    op.out_zero_point = test_between(-128, 127);
    op.out_multiplier = test_any_int32() & INT32_MAX;
    op.out_shift = test_between(-31, 30);
    op.act_min = test_between(-128, 0);
    op.act_max = test_between(0, 127);
    test_case("%s: %d pixels, %d columns, depth %d", name, (int)pixels, (int)columns, (int)depth);
    kernel(&op, a, b, pixels, depth, columns, out);
    for (uint32_t i = 0; i < pixels * columns; i++) {
        int64_t sum = 0;
        int64_t value;

        for (uint32_t k = 0; k < depth; k++) {
            sum += (int64_t)(a[i / columns * depth + k] - op.a_zero_point) *
                   (b[i % columns * depth + k] - op.b_zero_point);
        }
        value = reference_wrap(
            (int64_t)reference_requantize((int32_t)reference_wrap(sum), op.out_multiplier,
                                          op.out_shift) + op.out_zero_point);
        EXPECT_EQUAL(out[i], value < op.act_min ? op.act_min
                             : value > op.act_max ? op.act_max : value);
    }
    test_release();
}

static void arg_max_case(nrw_arg_max_kernel *kernel, const char *name)
{
    const uint32_t pixels = (uint32_t)test_between(1, 5);
    const uint32_t channels = (uint32_t)test_between(1, 300);
    int8_t *const in = test_memory(pixels * channels, 1);
    uint32_t *const out = test_memory(pixels * sizeof *out, sizeof *out);

    test_fill(in, pixels * channels);
    test_case("%s: %d pixels, %d channels", name, (int)pixels, (int)channels);
    kernel(in, pixels, channels, out);
    for (uint32_t p = 0; p < pixels; p++) {
        const int8_t *const pixel = in + p * channels;

        for (uint32_t c = 0; c < channels; c++) {
            EXPECT(c < out[p] ? pixel[c] < pixel[out[p]] : pixel[c] <= pixel[out[p]]);
        }
    }
    test_release();
}

void test_matmul(void)
{
    for (int i = 0; i < TEST_CASES; i++) {
#define RUN(suffix)                                                 \
        matmul_case(nrw_matmul_##suffix, "nrw_matmul_" #suffix);    \
        arg_max_case(nrw_arg_max_##suffix, "nrw_arg_max_" #suffix);
        NRW_MATMUL_VARIANTS(RUN)
#undef RUN
    }
}

/* --- Move and lookup ------------------------------------------------------------------------ */

static void move_case(nrw_move_kernel *move, nrw_lookup_kernel *lookup, const char *name)
{
    const uint32_t pixels = (uint32_t)test_between(0, 4);
    const uint32_t channels = (uint32_t)test_between(1, 9);
    const uint32_t channel_stride = (uint32_t)test_between(1, 3);
    const uint32_t span = (channels - 1) * channel_stride + 1;
    const uint32_t in_stride = (uint32_t)test_between(0, 2 * (int32_t)span);
    const uint32_t out_stride = channels + (uint32_t)test_between(0, 4);
    const size_t in_bytes = pixels ? (pixels - 1) * in_stride + span : 0;
    const size_t out_bytes = pixels ? (pixels - 1) * out_stride + channels : 0;
    int8_t *const in = test_memory(in_bytes, 1);
    int8_t *const out = test_memory(out_bytes, 1);
    uint8_t *const table = test_memory(256, 1);

    test_fill(in, in_bytes);
    memset(out, 0x5A, out_bytes);
    test_case("%s: pixels %d, channels %d, strides %d %d to %d", name, (int)pixels,
              (int)channels, (int)in_stride, (int)channel_stride, (int)out_stride);
    move(in, in_stride, channel_stride, pixels, channels, out, out_stride);
    for (size_t i = 0; i < out_bytes; i++) {
        const size_t p = i / out_stride;
        const size_t c = i % out_stride;

        EXPECT_EQUAL(out[i], c < channels ? in[p * in_stride + c * channel_stride] : 0x5A);
    }

    for (uint32_t i = 0; i < 256; i++) {
        table[i] = (uint8_t)test_random();
    }
    test_fill(out, out_bytes);
    lookup(table, out, (uint32_t)out_bytes, out);
    lookup(table, in, (uint32_t)(in_bytes < out_bytes ? in_bytes : out_bytes), out);
    for (size_t i = 0; i < in_bytes && i < out_bytes; i++) {
        EXPECT_EQUAL(out[i], (int8_t)table[(in[i] + 256) % 256]);
    }
    test_release();
}

void test_move(void)
{
    for (int i = 0; i < TEST_CASES; i++) {
#define RUN(suffix) move_case(nrw_move_##suffix, nrw_lookup_##suffix, "nrw_move_" #suffix);
        NRW_MOVE_VARIANTS(RUN)
#undef RUN
    }
}

/* --- Resize --------------------------------------------------------------------------------- */

static void resize_case(nrw_resize_kernel *kernel, const char *name)
{
    static const uint16_t fractions[] = {0, 0, 1, 511, 512, 513, 1023};
    const uint32_t in_pixels = (uint32_t)test_between(1, 5);
    const uint32_t pixels = (uint32_t)test_between(1, 6);
    const uint32_t channels = (uint32_t)test_between(1, 18);
    const uint32_t fraction = TEST_PICK(fractions);
    int8_t *const low = test_memory(in_pixels * channels, 1);
    int8_t *const high = fraction ? test_memory(in_pixels * channels, 1) : low;
    int8_t *const out = test_memory(pixels * channels, 1);
    struct nrw_sample *const columns = test_memory(pixels * sizeof *columns, 4);

    test_fill(low, in_pixels * channels);
    test_fill(high, in_pixels * channels);
    for (uint32_t x = 0; x < pixels; x++) {
        columns[x].low = (uint16_t)(test_random() % in_pixels);
        columns[x].fraction = columns[x].low + 1u < in_pixels ? TEST_PICK(fractions) : 0;
    }
    test_case("%s: pixels %d to %d, channels %d, fraction %d", name, (int)in_pixels, (int)pixels,
              (int)channels, (int)fraction);
    kernel(low, high, fraction, columns, pixels, channels, out);
    for (uint32_t x = 0; x < pixels; x++) {
        const uint32_t fx = columns[x].fraction;
        const uint32_t near = columns[x].low * channels;
        const uint32_t far = (columns[x].low + (fx ? 1u : 0u)) * channels;

        for (uint32_t c = 0; c < channels; c++) {
            const int64_t one = 1024;
            const int64_t value = low[near + c] * (one - fraction) * (one - fx) +
                                  low[far + c] * (one - fraction) * fx +
                                  high[near + c] * (int64_t)fraction * (one - fx) +
                                  high[far + c] * (int64_t)fraction * fx;
            const int64_t half = value > 0 ? one * one / 2 : -one * one / 2;

            EXPECT_EQUAL(out[x * channels + c], (value + half) / (one * one));
        }
    }
    test_release();
}

void test_resize(void)
{
    for (int i = 0; i < TEST_CASES; i++) {
#define RUN(suffix) resize_case(nrw_resize_##suffix, "nrw_resize_" #suffix);
        NRW_RESIZE_VARIANTS(RUN)
#undef RUN
    }
}
