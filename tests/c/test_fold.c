/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Depthwise convolution by rows: two rows of a kernel fold into sums, in place of the row that is
 * kept, and the third row unfolds them. Against nrw_depthwise_c over the three rows at once.
 */
#include <string.h>

#include "kernels.h"
#include "sample_window.h"
#include "test.h"
#include "tests.h"

enum { ROWS = 3, MOST_WIDTH = 20 };

/* The stage's operator: a kernel of 3x3, stride 2, padding of two at the most. */
struct folded_case {
    struct nrw_depthwise_op op;
    struct nrw_window window;
    const int8_t *rows[ROWS];
    int32_t out_width;
};

static void random_rows(struct folded_case *c)
{
    static const uint32_t channel_counts[] = {1, 3, 4, 7, 8, 9, 16, 20, 24, 40, 160};
    const uint32_t channels = TEST_PICK(channel_counts);
    const int32_t width = test_between(1, MOST_WIDTH);
    struct nrw_window *const window = &c->window;

    *window = (struct nrw_window){.rows = c->rows, .in_width = width, .pixel_stride = channels,
                                  .kernel_h = ROWS, .kernel_w = ROWS, .stride_w = 2,
                                  .dilation_w = 1};
    window->pad_left = test_between(0, ROWS - 1);
    /* Each window begins inside the row or its padding. */
    c->out_width = (width + window->pad_left + 1) / 2;
    for (uint32_t i = 0; i < ROWS; i++) {
        const size_t bytes = (size_t)width * channels;
        int8_t *const row = test_memory(bytes, 1);

        test_fill(row, bytes);
        c->rows[i] = i == 0 && test_between(0, 3) == 0 ? NULL : row;
    }
}

static void random_operator(struct folded_case *c)
{
    const uint32_t channels = c->window.pixel_stride;
    const size_t bytes = (size_t)ROWS * c->window.kernel_w * channels;
    int8_t *const weights = test_memory(bytes, 1);

    test_fill(weights, bytes);
    c->op = (struct nrw_depthwise_op){
        .weights = weights,
        .channels = sample_depthwise_channels(weights, bytes, channels),
        .out_channels = channels,
        .depth_multiplier = 1,
    };
    c->op.most_shift = sample_most_shift(c->op.channels, channels);
    c->op.in_zero_point = test_between(-128, 127);
    c->op.out_zero_point = sample_zero_point();
    sample_clamp(&c->op.act_min, &c->op.act_max);
}

/* The row that is kept: the first of the three, behind padding that stands nowhere. The highs stand
 * behind it, as in a stage's state. */
static struct nrw_folded keep_first_row(struct folded_case *c)
{
    const uint32_t channels = c->op.out_channels;
    const uint32_t in_pixels = (uint32_t)(c->window.in_width + c->window.pad_left);
    const uint32_t sums = 2u * (uint32_t)c->out_width;
    const size_t kept_bytes =
        ((size_t)(in_pixels > sums ? in_pixels : sums) * channels + 15) / 16 * 16;
    int8_t *const state =
        test_memory(kept_bytes + (size_t)c->out_width * ((channels + 3) / 4), 16);
    const struct nrw_folded folded = {state, (uint8_t *)state + kept_bytes};

    if (c->rows[0]) {
        int8_t *const kept = folded.row + (size_t)c->window.pad_left * channels;

        memcpy(kept, c->rows[0], (size_t)c->window.in_width * channels);
        c->rows[0] = kept;
    }
    return folded;
}

static void fold_case(nrw_depthwise_fold_kernel *fold, nrw_depthwise_unfold_kernel *unfold,
                      const char *name)
{
    struct folded_case c;
    struct nrw_window part;
    struct nrw_folded folded;
    int8_t *out, *expected;
    size_t bytes;
    uint32_t channels, out_stride;
    int32_t strip;

    random_rows(&c);
    random_operator(&c);
    channels = c.op.out_channels;
    out_stride = channels + (uint32_t)test_between(0, 3);
    strip = test_between(1, c.out_width);
    test_case("%s: %d channels, width %d to %d in strips of %d, pad %d", name,
              (int)channels, (int)c.window.in_width, (int)c.out_width, (int)strip,
              (int)c.window.pad_left);
    bytes = (size_t)(c.out_width - 1) * out_stride + channels;
    expected = test_memory(bytes, 1);
    out = test_memory(bytes, 1);
    memset(expected, 0x5A, bytes);
    memset(out, 0x5A, bytes);
    nrw_depthwise_c(&c.op, &c.window, 0, c.out_width, 0, channels, expected, out_stride, NULL);

    folded = keep_first_row(&c);
    part = c.window;
    part.kernel_h = 2;
    for (int32_t x = 0; x < c.out_width; x += strip) {
        fold(&c.op, &part, x, c.out_width - x < strip ? c.out_width : x + strip, &folded);
    }
    part.kernel_h = 1;
    part.rows = c.rows + 2;
    for (int32_t x = 0; x < c.out_width; x += strip) {
        unfold(&c.op, &part, x, c.out_width - x < strip ? c.out_width : x + strip, &folded,
               out + (size_t)x * out_stride, out_stride);
    }
    EXPECT(memcmp(out, expected, bytes) == 0);
    test_release();
}

void test_fold(void)
{
    for (int i = 0; i < TEST_CASES; i++) {
#define RUN(suffix)                                                      \
    fold_case(nrw_depthwise_fold_##suffix, nrw_depthwise_unfold_##suffix, \
              "nrw_depthwise_fold_" #suffix);
        NRW_DEPTHWISE_FOLD_VARIANTS(RUN)
#undef RUN
    }
}
