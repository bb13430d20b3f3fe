/* SPDX-License-Identifier: Apache-2.0 */
#include "sample_window.h"

#include <string.h>

#include "test.h"

enum { GAP_BYTE = 0x5A };

void sample_window(struct sample_window *sample, enum sample_kind kind, uint32_t channels,
                   uint32_t out_channels)
{
    static const uint16_t kernels[] = {1, 1, 2, 3, 3, 5, SAMPLE_MAX_KERNEL};
    static const int32_t widths[] = {1, 2, 3, 8, 13};
    static const uint16_t steps[] = {1, 1, 2, 3};
    struct nrw_window *const window = &sample->window;
    int32_t low, high;

    window->rows = sample->rows;
    window->kernel_h = TEST_PICK(kernels);
    window->kernel_w = TEST_PICK(kernels);
    window->in_width = TEST_PICK(widths);
    window->stride_w = TEST_PICK(steps);
    window->pixel_stride = channels + (test_between(0, 2) ? 0 : 5);
    sample->out_stride = out_channels + (test_between(0, 2) ? 0 : 3);
    if (kind == SAMPLE_POOL) {
        const int32_t kernel_w = window->kernel_w;

        window->dilation_w = 1;
        window->pad_left = test_between(0, kernel_w - 1);
        sample->x1 = (window->in_width - 1 + window->pad_left) / window->stride_w + 1;
        sample->x0 = test_between(0, sample->x1);
    } else {
        window->dilation_w = TEST_PICK(steps);
        if (kind == SAMPLE_3X3) {
            window->kernel_h = window->kernel_w = 3;
            window->dilation_w = 1;
        }
        window->pad_left = test_between(0, 3) ? test_between(0, window->kernel_w - 1) : 9;
        sample->x0 = test_between(0, 3);
        sample->x1 = sample->x0 + test_between(0, kind == SAMPLE_3X3 ? 15 : 6);
    }

    low = sample->x0 * window->stride_w - window->pad_left;
    high = (sample->x1 - 1) * window->stride_w - window->pad_left +
           (window->kernel_w - 1) * window->dilation_w + 1;
    low = low < 0 ? 0 : low;
    high = high > window->in_width ? window->in_width : high;
    if (test_between(0, 1)) {
        low = 0;
        high = window->in_width;
    }
    window->origin = low;
    for (uint32_t i = 0; i < window->kernel_h; i++) {
        const int padding = kind == SAMPLE_POOL ? i > 0 && test_between(0, 3) == 0
                                                : test_between(0, 3) == 0;

        sample->rows[i] = NULL;
        if (!padding) {
            const size_t count =
                high > low ? (size_t)(high - low - 1) * window->pixel_stride + channels : 0;
            int8_t *const row = test_memory(count, 1);

            test_fill(row, count);
            sample->rows[i] = row;
        }
    }
}

const int8_t *sample_tap(const struct sample_window *sample, int32_t x, uint32_t i, uint32_t j)
{
    const struct nrw_window *const window = &sample->window;
    const int32_t column =
        x * window->stride_w - window->pad_left + (int32_t)j * window->dilation_w;

    if (!sample->rows[i] || column < 0 || column >= window->in_width) {
        return NULL;
    }
    return sample->rows[i] + (size_t)(column - window->origin) * window->pixel_stride;
}

size_t sample_output_bytes(const struct sample_window *sample, uint32_t out_channels)
{
    const size_t pixels = (size_t)(sample->x1 - sample->x0);

    return pixels ? (pixels - 1) * sample->out_stride + out_channels : 0;
}

int8_t *sample_output(const struct sample_window *sample, uint32_t out_channels)
{
    const size_t count = sample_output_bytes(sample, out_channels);
    int8_t *const out = test_memory(count, 1);

    memset(out, GAP_BYTE, count);
    return out;
}

void sample_check_gaps(const struct sample_window *sample, uint32_t out_channels,
                       const int8_t *out)
{
    const size_t count = sample_output_bytes(sample, out_channels);

    for (size_t i = 0; i < count; i++) {
        if (i % sample->out_stride >= out_channels && out[i] != GAP_BYTE) {
            test_fail("byte %d, between the output's pixels, was written", (int)i);
        }
    }
}

int32_t sample_most_shift(const struct nrw_channel *channels, uint32_t count)
{
    int32_t most = -31;

    for (uint32_t o = 0; o < count; o++) {
        most = channels[o].shift > most ? channels[o].shift : most;
    }
    return test_between(0, 3) > 0 ? most : test_between(most, 30);
}

struct nrw_channel *sample_channels(uint32_t count)
{
    struct nrw_channel *const channels = test_memory(count * sizeof *channels, 4);
    const int32_t kind = test_between(0, 3);
    const uint32_t odd_one = (uint32_t)test_between(0, (int32_t)count - 1);
    const int32_t highest = -test_between(0, 1);

    memset(channels, 0, count * sizeof *channels);
    for (uint32_t o = 0; o < count; o++) {
        const int any = kind == 0 || (kind == 1 && o == odd_one);

        channels[o].bias = any ? test_any_int32() : test_between(-100000, 100000);
        channels[o].multiplier = any ? test_multiplier() : test_between(1 << 30, INT32_MAX);
        channels[o].shift = (int8_t)(any ? test_shift() : test_between(-14, highest));
    }
    if (kind == 2) {
        /* Weights that are nearly 0: all outputs are the zero point. */
        channels[odd_one].multiplier = INT32_MAX;
        channels[odd_one].shift = (int8_t)test_between(-31, -20);
    }
    for (uint32_t o = 0; o < count; o++) {
        channels[o].sign = (int8_t)(channels[o].shift < 0 ? -1 : 0);
        channels[o].prescale = channels[o].sign;
    }
    return channels;
}

void sample_clamp(int32_t *act_min, int32_t *act_max)
{
    const int whole = test_between(0, 1);

    *act_min = whole ? -128 : test_between(-128, 127);
    *act_max = whole ? 127 : test_between(*act_min, 127);
}

void sample_prescale(struct nrw_channel *channel, const int8_t *weights, size_t step, size_t count)
{
    const int32_t power = 15 + channel->shift;
    const int64_t limit = power >= 2 && power <= 14 ? INT32_MAX >> power : -1;
    int64_t least = channel->bias, most = channel->bias;

    for (size_t k = 0; k < count; k++) {
        const int32_t weight = weights[k * step];

        least += weight * (weight < 0 ? 127 : -128);
        most += weight * (weight < 0 ? -128 : 127);
    }
    if (most - least <= limit && test_between(0, 7) == 0) {
        const int64_t move = test_between(0, 1) ? limit - most : -limit - least;

        channel->bias = (int32_t)(channel->bias + move);
        most = least = 0;
    }
    if (least >= -limit && most <= limit) {
        channel->sign = 0;
        channel->prescale = (int16_t)(1 << (power - 2));
    }
}

struct nrw_channel *sample_depthwise_channels(const int8_t *weights, size_t bytes,
                                              uint32_t channels)
{
    struct nrw_channel *const table = sample_channels(channels);

    for (uint32_t c = 0; c < channels; c++) {
        sample_prescale(&table[c], weights + c, channels, bytes / channels);
    }
    return table;
}

int32_t sample_zero_point(void)
{
    return test_between(0, 1) ? INT8_MIN : test_between(INT8_MIN, INT8_MAX);
}
