/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "layouts.h"
#include "narrows.h"
#include "sample_window.h"
#include "sizes.h"
#include "test.h"
#include "tests.h"

/* Around the kernels' tiles and blocks, of 4, 16 and 32. */
static const uint32_t channel_counts[] = {1,  2,  3,  4,  5,  8,  15, 16,
                                         17, 31, 32, 33, 48, 64, 65};
/* Around what the paired layout's kernels widen at a time, of a pixel and of two. (Output channels
 * are sometimes more than they keep sums of.) */
static const uint32_t deep_counts[] = {255, 256, 257, 700, 1023, 1024, 1025};

/* Of 3x3 windows, which some kernels read row by row or copy. */
static const uint32_t usual_counts[] = {3, 16, 32, 64};

/* weights: in the order of NRW_LAYOUT_PLAIN. */
static int32_t conv_pixel(const struct nrw_conv_op *op, const int8_t *weights,
                          const struct sample_window *sample, int32_t x, uint32_t o)
{
    const struct nrw_window *const window = &sample->window;
    const int8_t *weight =
        weights + (size_t)o * window->kernel_h * window->kernel_w * op->in_channels;
    int64_t sum = op->channels[o].bias;

    for (uint32_t i = 0; i < window->kernel_h; i++) {
        for (uint32_t j = 0; j < window->kernel_w; j++) {
            const int8_t *const pixel = sample_tap(sample, x, i, j);

            for (uint32_t c = 0; c < op->in_channels; c++) {
                sum += (int64_t)*weight++ * (pixel ? pixel[c] : op->in_zero_point);
            }
        }
    }
    return reference_output(sum, op->channels[o].multiplier, op->channels[o].shift,
                            op->out_zero_point, op->act_min, op->act_max);
}

/* Random weights in the plain order, and in the layout; what the layout unpacks is what was packed. */
static int8_t *random_weights(uint32_t layout, const struct nrw_filter_shape *shape,
                              const int8_t **packed)
{
    const size_t count = (size_t)nrw_conv_weight_bytes(NRW_LAYOUT_PLAIN, shape);
    const size_t packed_bytes = (size_t)nrw_conv_weight_bytes(layout, shape);
    int8_t *const weights = test_memory(count, 4);
    int8_t *const unpacked = test_memory(count, 4);
    int8_t *const bytes = test_memory(packed_bytes, 4);

    test_fill(weights, count);
    nrw_conv_pack(layout, shape, weights, bytes);
    nrw_conv_unpack(layout, shape, bytes, unpacked);
    EXPECT(memcmp(weights, unpacked, count) == 0);
    *packed = bytes;
    return weights;
}

/* A channel table for weights in the plain order. */
static const struct nrw_channel *conv_channels(const struct nrw_filter_shape *shape,
                                               const int8_t *weights)
{
    const size_t count = (size_t)shape->kernel_h * shape->kernel_w * shape->in_channels;
    struct nrw_channel *const channels = sample_channels(shape->out_channels);

    for (uint32_t o = 0; o < shape->out_channels; o++) {
        sample_prescale(&channels[o], weights + o * count, 1, count);
    }
    return channels;
}

/* A part of an operator's channels. */
static void random_part(uint32_t channels, uint32_t *first, uint32_t *count)
{
    *first = test_between(0, 1) ? 0 : (uint32_t)test_between(0, (int32_t)channels - 1);
    *count = *first == 0 ? channels : (uint32_t)test_between(1, (int32_t)(channels - *first));
}

static void conv_case(nrw_conv_kernel *kernel, const char *name, uint32_t layout)
{
    const int deep = test_between(0, 15) == 0;
    const int usual = !deep && test_between(0, 3) == 0;
    struct nrw_filter_shape shape;
    uint32_t first, count;
    struct sample_window sample;
    struct nrw_conv_op op;
    uint32_t scratch_bytes;
    int8_t *weights, *out;
    void *scratch = NULL;

    op.in_channels = deep    ? TEST_PICK(deep_counts)
                     : usual ? TEST_PICK(usual_counts)
                             : TEST_PICK(channel_counts);
    op.out_channels = usual ? 4u * (uint32_t)test_between(1, 6)
                            : TEST_PICK(channel_counts) % (deep ? 10 : 40) + 1;
    if (deep && test_between(0, 1)) {
        op.out_channels = (uint32_t)test_between(60, 90);
    }
    random_part(op.out_channels, &first, &count);
    sample_window(&sample, usual ? SAMPLE_3X3 : SAMPLE_CONV, op.in_channels, count);
    if (deep || (!usual && test_between(0, 2) == 0)) {
        sample.window.kernel_h = sample.window.kernel_w = 1;
    }
    shape = (struct nrw_filter_shape){sample.window.kernel_h, sample.window.kernel_w,
                                      op.in_channels, op.out_channels};
    weights = random_weights(layout, &shape, &op.weights);
    op.channels = conv_channels(&shape, weights);
    op.most_shift = sample_most_shift(op.channels, op.out_channels);
    op.in_zero_point = test_between(-128, 127);
    op.out_zero_point = sample_zero_point();
    sample_clamp(&op.act_min, &op.act_max);
    test_case("%s: %dx%d, stride %d, dilation %d, pad %d, width %d, columns %d to %d, "
              "channels %d to %d, %d of them from %d",
              name, sample.window.kernel_h, sample.window.kernel_w, sample.window.stride_w,
              sample.window.dilation_w, (int)sample.window.pad_left, (int)sample.window.in_width,
              (int)sample.x0, (int)sample.x1, (int)op.in_channels, (int)op.out_channels,
              (int)count, (int)first);
    scratch_bytes = nrw_conv_scratch_bytes(layout, sample.window.kernel_h,
                                           sample.window.kernel_w, op.in_channels, count,
                                           (uint32_t)(sample.x1 - sample.x0));
    if (scratch_bytes) {
        scratch = test_memory(scratch_bytes, 16);
    }
    out = sample_output(&sample, count);
    kernel(&op, &sample.window, sample.x0, sample.x1, first, count, out, sample.out_stride,
           scratch);
    for (int32_t x = sample.x0; x < sample.x1; x++) {
        for (uint32_t o = 0; o < count; o++) {
            EXPECT_EQUAL(out[(size_t)(x - sample.x0) * sample.out_stride + o],
                         conv_pixel(&op, weights, &sample, x, first + o));
        }
    }
    sample_check_gaps(&sample, count, out);
    test_release();
}

/* Slices added up give what the whole convolution gives. */
static void accumulate_case(nrw_conv_accumulate_kernel *accumulate,
                            nrw_conv_finish_kernel *finish, const char *name, uint32_t layout)
{
    static const uint32_t slices[] = {1, 2, 3, 4, 7, 16, 17, 40};
    const uint32_t pixels = (uint32_t)test_between(1, 5);
    const uint32_t depth = TEST_PICK(channel_counts);
    const uint32_t in_stride = depth + (uint32_t)(test_between(0, 1) * 3);
    const uint32_t slice = TEST_PICK(slices);
    const uint32_t in_bytes = (pixels - 1) * in_stride + depth;
    struct nrw_filter_shape shape;
    struct nrw_conv_op op;
    struct sample_window sample;
    int8_t *weights, *in, *out;
    int32_t *sums;

    op.in_channels = depth;
    op.out_channels = TEST_PICK(channel_counts);
    op.in_zero_point = 0;
    op.out_zero_point = sample_zero_point();
    sample_clamp(&op.act_min, &op.act_max);
    shape = (struct nrw_filter_shape){1, 1, depth, op.out_channels};
    weights = random_weights(layout, &shape, &op.weights);
    op.channels = conv_channels(&shape, weights);
    op.most_shift = sample_most_shift(op.channels, op.out_channels);
    in = test_memory(in_bytes, 1);
    test_fill(in, in_bytes);
    sums = test_memory(pixels * op.out_channels * sizeof *sums, 16);
    memset(sums, 0, pixels * op.out_channels * sizeof *sums);
    test_case("%s: slices of %d, %d pixels, channels %d to %d", name, (int)slice, (int)pixels,
              (int)depth, (int)op.out_channels);

    for (uint32_t c = 0; c < depth; c += slice) {
        accumulate(&op, c, depth - c < slice ? depth - c : slice, in + c, in_stride, pixels, sums);
    }
    sample.window = (struct nrw_window){sample.rows, 0, (int32_t)pixels, in_stride, 1, 1, 1, 1, 0};
    sample.rows[0] = in;
    sample.x0 = 0;
    sample.x1 = (int32_t)pixels;
    sample.out_stride = op.out_channels + 2;
    out = sample_output(&sample, op.out_channels);
    finish(&op, sums, pixels, out, sample.out_stride);
    for (uint32_t p = 0; p < pixels; p++) {
        for (uint32_t o = 0; o < op.out_channels; o++) {
            EXPECT_EQUAL(out[p * sample.out_stride + o],
                         conv_pixel(&op, weights, &sample, (int32_t)p, o));
        }
    }
    sample_check_gaps(&sample, op.out_channels, out);
    test_release();
}

void test_conv(void)
{
    for (int i = 0; i < TEST_CASES; i++) {
#define RUN(suffix, layout)                                                                  \
    conv_case(nrw_conv_##suffix, "nrw_conv_" #suffix, layout);                               \
    accumulate_case(nrw_conv_accumulate_##suffix, nrw_conv_finish_c,                         \
                    "nrw_conv_accumulate_" #suffix, layout);
        NRW_CONV_VARIANTS(RUN)
#undef RUN
#define RUN(suffix)                                                      \
    accumulate_case(nrw_conv_accumulate_c, nrw_conv_finish_##suffix,     \
                    "nrw_conv_finish_" #suffix, NRW_LAYOUT_PLAIN);
        NRW_CONV_FINISH_VARIANTS(RUN)
#undef RUN
    }
}

/* Output channel o of an operator, of which the window has what channel `first` reads and more. */
static int32_t depthwise_pixel(const struct nrw_depthwise_op *op,
                               const struct sample_window *sample, int32_t x, uint32_t first,
                               uint32_t o)
{
    const struct nrw_window *const window = &sample->window;
    int64_t sum = op->channels[o].bias;

    for (uint32_t i = 0; i < window->kernel_h; i++) {
        for (uint32_t j = 0; j < window->kernel_w; j++) {
            const int8_t *const pixel = sample_tap(sample, x, i, j);
            const int64_t value =
                pixel ? pixel[(o - first) / op->depth_multiplier] : op->in_zero_point;

            sum += value * op->weights[(i * window->kernel_w + j) * op->out_channels + o];
        }
    }
    return reference_output(sum, op->channels[o].multiplier, op->channels[o].shift,
                            op->out_zero_point, op->act_min, op->act_max);
}

static void depthwise_case(nrw_depthwise_kernel *kernel, const char *name, uint32_t layout)
{
    struct sample_window sample;
    struct nrw_depthwise_op op;
    const uint32_t in_channels = TEST_PICK(channel_counts);
    const int usual = test_between(0, 1);
    uint32_t scratch_bytes, first, count;
    size_t weight_count;
    int8_t *weights, *out;
    void *scratch = NULL;

    op.depth_multiplier = usual || test_between(0, 1) ? 1 : (uint32_t)test_between(2, 5);
    op.out_channels = in_channels * op.depth_multiplier;
    random_part(in_channels, &first, &count);
    sample_window(&sample, usual ? SAMPLE_3X3 : SAMPLE_CONV, count,
                  count * op.depth_multiplier);
    first *= op.depth_multiplier;
    count *= op.depth_multiplier;
    weight_count = (size_t)sample.window.kernel_h * sample.window.kernel_w * op.out_channels;
    weights = test_memory(weight_count, 1);
    test_fill(weights, weight_count);
    op.weights = weights;
    op.channels = sample_depthwise_channels(weights, weight_count, op.out_channels);
    op.most_shift = sample_most_shift(op.channels, op.out_channels);
    op.in_zero_point = test_between(-128, 127);
    op.out_zero_point = sample_zero_point();
    sample_clamp(&op.act_min, &op.act_max);
    test_case("%s: %dx%d, stride %d, dilation %d, pad %d, width %d, columns %d to %d, "
              "channels %d times %d, %d of them from %d",
              name, sample.window.kernel_h, sample.window.kernel_w, sample.window.stride_w,
              sample.window.dilation_w, (int)sample.window.pad_left, (int)sample.window.in_width,
              (int)sample.x0, (int)sample.x1, (int)in_channels, (int)op.depth_multiplier,
              (int)count, (int)first);
    scratch_bytes = nrw_depthwise_scratch_bytes(layout, sample.window.kernel_h,
                                                sample.window.kernel_w, count);
    if (scratch_bytes) {
        scratch = test_memory(scratch_bytes, 16);
    }
    out = sample_output(&sample, count);
    kernel(&op, &sample.window, sample.x0, sample.x1, first, count, out, sample.out_stride,
           scratch);
    for (int32_t x = sample.x0; x < sample.x1; x++) {
        for (uint32_t o = 0; o < count; o++) {
            EXPECT_EQUAL(out[(size_t)(x - sample.x0) * sample.out_stride + o],
                         depthwise_pixel(&op, &sample, x, first, first + o));
        }
    }
    sample_check_gaps(&sample, count, out);
    test_release();
}

void test_depthwise(void)
{
    for (int i = 0; i < TEST_CASES; i++) {
#define RUN(suffix, layout) \
    depthwise_case(nrw_depthwise_##suffix, "nrw_depthwise_" #suffix, layout);
        NRW_DEPTHWISE_VARIANTS(RUN)
#undef RUN
    }
}
