/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "sample_window.h"
#include "test.h"
#include "tests.h"

static const uint32_t channel_counts[] = {1, 2, 4, 15, 16, 17, 33};

/* Sum and number of the elements inside; their maximum. */
struct inside {
    int64_t sum;
    int64_t count;
    int32_t maximum;
};

static struct inside look_inside(const struct sample_window *sample, int32_t x, uint32_t c)
{
    struct inside inside = {0, 0, -128};

    for (uint32_t i = 0; i < sample->window.kernel_h; i++) {
        for (uint32_t j = 0; j < sample->window.kernel_w; j++) {
            const int8_t *const pixel = sample_tap(sample, x, i, j);

            if (pixel) {
                inside.sum += pixel[c];
                inside.count++;
                inside.maximum = pixel[c] > inside.maximum ? pixel[c] : inside.maximum;
            }
        }
    }
    return inside;
}

static int32_t clamp(int64_t value, int32_t low, int32_t high)
{
    return (int32_t)(value < low ? low : value > high ? high : value);
}

static int32_t average(const struct nrw_average_op *op, struct inside inside)
{
    const int64_t half = inside.sum >= 0 ? inside.count / 2 : -(inside.count / 2);

    if (op->requantize) {
        return reference_output(inside.sum + op->mean.bias, op->mean.multiplier, op->mean.shift,
                                op->out_zero_point, op->act_min, op->act_max);
    }
    return clamp((inside.sum + half) / inside.count, op->act_min, op->act_max);
}

static void check(const struct nrw_average_op *op, const struct sample_window *sample,
                  const int8_t *out, int maximum)
{
    for (int32_t x = sample->x0; x < sample->x1; x++) {
        for (uint32_t c = 0; c < op->channels; c++) {
            const struct inside inside = look_inside(sample, x, c);

            EXPECT_EQUAL(out[(size_t)(x - sample->x0) * sample->out_stride + c],
                         maximum ? clamp(inside.maximum, op->act_min, op->act_max)
                                 : average(op, inside));
        }
    }
    sample_check_gaps(sample, op->channels, out);
}

static void pool_case(nrw_average_kernel *average_kernel, nrw_sum_kernel *sum_kernel,
                      nrw_average_finish_kernel *finish_kernel, nrw_max_pool_kernel *max_kernel,
                      const char *name)
{
    struct nrw_average_op op = {0};
    struct sample_window sample;
    struct nrw_window one_row;
    uint32_t rows = 0;
    int32_t *sums;
    int8_t *out;
    size_t sum_count;

    op.channels = TEST_PICK(channel_counts);
    op.requantize = test_between(0, 1);
    op.mean.bias = test_any_int32();
    op.mean.multiplier = test_multiplier();
    op.mean.shift = (int8_t)test_shift();
    op.out_zero_point = test_between(-128, 127);
    op.act_min = test_between(0, 1) ? -128 : test_between(-128, 127);
    op.act_max = test_between(op.act_min, 127);
    sample_window(&sample, SAMPLE_POOL, op.channels, op.channels);
    test_case("%s: %dx%d, stride %d, pad %d, width %d, columns %d to %d, channels %d, mean %d",
              name, sample.window.kernel_h, sample.window.kernel_w, sample.window.stride_w,
              (int)sample.window.pad_left, (int)sample.window.in_width, (int)sample.x0,
              (int)sample.x1, (int)op.channels, (int)op.requantize);

    out = sample_output(&sample, op.channels);
    average_kernel(&op, &sample.window, sample.x0, sample.x1, out, sample.out_stride);
    check(&op, &sample, out, 0);

    /* The same row by row. */
    sum_count = (size_t)(sample.x1 - sample.x0) * op.channels;
    sums = test_memory(sum_count * sizeof *sums, 16);
    memset(sums, 0, sum_count * sizeof *sums);
    one_row = sample.window;
    one_row.kernel_h = 1;
    for (uint32_t i = 0; i < sample.window.kernel_h; i++) {
        if (sample.rows[i]) {
            one_row.rows = &sample.rows[i];
            sum_kernel(op.channels, &one_row, sample.x0, sample.x1, sums);
            rows++;
        }
    }
    one_row.rows = NULL;
    out = sample_output(&sample, op.channels);
    finish_kernel(&op, &one_row, rows, sample.x0, sample.x1, sums, out, sample.out_stride);
    check(&op, &sample, out, 0);

    out = sample_output(&sample, op.channels);
    max_kernel(op.channels, op.act_min, op.act_max, &sample.window, sample.x0, sample.x1, out,
               sample.out_stride);
    check(&op, &sample, out, 1);
    test_release();
}

void test_pool(void)
{
    for (int i = 0; i < TEST_CASES; i++) {
#define RUN(suffix)                                                          \
    pool_case(nrw_average_##suffix, nrw_sum_##suffix, nrw_average_finish_##suffix, \
              nrw_max_pool_##suffix, "pools_" #suffix);
        NRW_POOL_VARIANTS(RUN)
#undef RUN
    }
}
