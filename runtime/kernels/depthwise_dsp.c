/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Four channels at a time, pixel by pixel, for the windows and channels that the quicker ways are
 * not made for; and the choice of the way. Fewer than four channels, depth multipliers above 1, and
 * channels with unusual shifts are left to the portable kernel.
 */
#include "depthwise_dsp.h"
#include "dsp.h"
#include "finish_dsp.h"

void nrw_start_table(struct nrw_tap_table *table, const int8_t **taps, uint32_t weight_step,
                     int32_t zero_point, const struct nrw_window *window)
{
    const uint32_t count = (uint32_t)window->kernel_h * window->kernel_w;

    table->read.taps = taps;
    table->read.threes = taps + count % 3u;
    table->read.weight_step = weight_step;
    table->read.end = taps + count;
    nrw_fill_zero_points(table->zero_points, zero_point);
}

void nrw_fill_zero_points(uint32_t zero_points[NRW_PADDED_CHANNELS / 4], int32_t zero_point)
{
    for (uint32_t k = 0; k < NRW_PADDED_CHANNELS / 4; k++) {
        zero_points[k] = (uint32_t)(zero_point & 0xFF) * 0x01010101u;
    }
}

uint32_t nrw_fill_taps(const int8_t **tap, size_t step, const uint32_t *zero_points,
                       const struct nrw_window *window, int32_t x, uint32_t c, uint32_t count)
{
    const int8_t *const padding = (const int8_t *)zero_points;
    const struct nrw_taps taps = nrw_taps_inside(window, x);
    const ptrdiff_t from = (taps.column - window->origin) * (ptrdiff_t)window->pixel_stride;
    const size_t column = window->dilation_w * (size_t)window->pixel_stride;
    const size_t before = (size_t)taps.first * step, up_to = (size_t)taps.end * step;
    const size_t all = window->kernel_w * step;
    int is_padded = taps.end - taps.first < window->kernel_w;

    for (uint32_t i = 0; i < window->kernel_h; i++) {
        const int8_t *const row = window->rows[i];
        const int8_t **const next = tap + all;

        if (row) {
            const int8_t **const inside = tap + before, **const end = tap + up_to;
            const int8_t *pixel = row + from + c;

            for (; tap < inside; tap += step) {
                *tap = padding;
            }
            for (; tap < end; tap += step, pixel += column) {
                *tap = pixel;
            }
        } else {
            is_padded = 1;
        }
        for (; tap < next; tap += step) {
            *tap = padding;
        }
    }
    return is_padded && count > NRW_PADDED_CHANNELS ? NRW_PADDED_CHANNELS : count;
}

uint32_t nrw_fill_table(struct nrw_tap_table *table, const struct nrw_window *window, int32_t x,
                        uint32_t c, uint32_t count, const int8_t *weights)
{
    table->read.weights = weights;
    return nrw_fill_taps(table->read.taps, 1, table->zero_points, window, x, c, count);
}

/* lr: the channels; r3: the zero point. */
#define QUICKLY(sum, at, exact)             \
    "ldrd r1, r2, [lr, #" at "]\n\t"        \
    NRW_QUICK_CHANNEL("r2", "r3", "r8", exact) \
    NRW_FINISH_QUICKLY(sum, "r1", "r2", "r8")
#define EXACTLY(label, sum, at)             \
    label ":\n\t"                           \
    "ldrd r1, r2, [lr, #" at "]\n\t"        \
    NRW_EXACT_CHANNEL("r1", "r2", "r3", "r8", "6b") \
    NRW_FINISH_EXACTLY(sum, "r1", "r2", "r8")

/* lr: channel r12 of the table of channels. */
#define CHANNELS                            \
    "ldr lr, [r0, #20]\n\t"                 \
    "add lr, lr, r12, lsl #3\n\t"           \
    "add lr, lr, r12, lsl #2\n\t"

/* A pixel's channels, as the assembler code reads them. */
struct pixel {
    struct nrw_taps_read read;
    const struct nrw_channel *channels;
    int8_t *out;
    int32_t zero_point; /* nrw_finish_word */
    uint32_t count;   /* channels, a multiple of 4 */
};

/* Channels from `c`, a multiple of 4, to the end, clamped to int8 only; returns the first that it
 * could not compute, or `count`. r7 is the compiler's frame pointer if it has one, so it is not
 * told that r7 changes. */
static uint32_t compute_pixel(const struct pixel *pixel, uint32_t c)
{
    register const struct pixel *r0 __asm__("r0") = pixel;
    register uint32_t r12 __asm__("r12") = c;

    __asm__ volatile("push {r7}\n"
                     "1:\n\t"
                     "ldm r0, {r8, r9, r10, r11}\n\t"
                     "add r10, r10, r12\n\t"
                     CHANNELS
                     "ldr r4, [lr]\n\t"
                     "ldr r5, [lr, #12]\n\t"
                     "ldr r6, [lr, #24]\n\t"
                     "ldr r7, [lr, #36]\n\t"
                     NRW_ALL_TAPS
                     CHANNELS
                     "ldr r3, [r0, #28]\n\t"
                     "lsls r1, r3, #31\n\t"
                     "bne 51f\n\t"
                     QUICKLY("r4", "4", "51f")
                     QUICKLY("r5", "16", "52f")
                     QUICKLY("r6", "28", "53f")
                     QUICKLY("r7", "40", "54f")
                     "5:\n\t"
                     "ldrd r1, r2, [r0, #24]\n\t"
                     "ldr r2, [r0, #32]\n\t"
                     "add r1, r1, r12\n\t"
                     "strb r4, [r1]\n\t"
                     "strb r5, [r1, #1]\n\t"
                     "strb r6, [r1, #2]\n\t"
                     "strb r7, [r1, #3]\n\t"
                     "add r12, r12, #4\n\t"
                     "cmp r12, r2\n\t"
                     "bcc 1b\n"
                     "6:\n\t"
                     "pop {r7}\n\t"
                     "b 7f\n"
                     EXACTLY("51", "r4", "4")
                     EXACTLY("52", "r5", "16")
                     EXACTLY("53", "r6", "28")
                     EXACTLY("54", "r7", "40")
                     "b 5b\n"
                     "7:"
                     : "+r"(r12)
                     : "r"(r0)
                     : "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "lr", "cc",
                       "memory");
    return r12;
}

/* Four channels, one of which is odd (finish_dsp.h). */
static void compute_unusual(const struct pixel *pixel, uint32_t c, int32_t zero_point)
{
    for (uint32_t k = c; k < c + 4; k++) {
        const int8_t *weight = pixel->read.weights + k;
        uint32_t sum = 0;

        for (const int8_t *const *tap = pixel->read.taps; tap < pixel->read.end; tap++) {
            sum += (uint32_t)((*tap)[k] * *weight);
            weight += pixel->read.weight_step;
        }
        pixel->out[k] = nrw_finish(&pixel->channels[k], sum, zero_point, INT8_MIN, INT8_MAX);
    }
}

/* Channels [c, end), pixel by pixel. taps: memory for those of a window. */
NRW_NOINLINE static void compute_pixels(const struct nrw_depthwise_strip *strip, uint32_t c,
                                        uint32_t end, const int8_t **taps)
{
    struct nrw_tap_table table;
    struct pixel pixel;
    int8_t *out = strip->out;

    nrw_start_table(&table, taps, strip->weight_step, strip->in_zero_point, strip->window);
    pixel.zero_point = strip->zero_point;
    for (int32_t x = strip->x0; x < strip->x1; x++, out += strip->out_stride) {
        for (uint32_t from = c; from < end; from += pixel.count) {
            uint32_t done = 0;

            pixel.count = nrw_fill_table(&table, strip->window, x, from, end - from,
                                         strip->weights + from);
            pixel.read = table.read;
            pixel.channels = strip->channels + from;
            pixel.out = out + from;
            while (done < pixel.count) {
                done = compute_pixel(&pixel, done);
                if (done < pixel.count) {
                    compute_unusual(&pixel, done, strip->out_zero_point);
                    done += 4;
                }
            }
        }
    }
}

NRW_NOINLINE static void compute_few(const struct nrw_depthwise_strip *strip, uint32_t c,
                                     uint32_t end)
{
    const int8_t *taps[NRW_FEW_TAPS];

    compute_pixels(strip, c, end, taps);
}

NRW_NOINLINE static void compute_most(const struct nrw_depthwise_strip *strip, uint32_t c,
                                      uint32_t end)
{
    const int8_t *taps[NRW_MOST_TAPS];

    compute_pixels(strip, c, end, taps);
}

static void compute(const struct nrw_depthwise_strip *strip, uint32_t taps, uint32_t c,
                    uint32_t end)
{
    (taps > NRW_FEW_TAPS ? compute_most : compute_few)(strip, c, end);
}

/* Channels [0, count) in a quicker way, but for those that it does not take. */
static void compute_by(nrw_depthwise_way *way, const struct nrw_depthwise_strip *strip,
                       uint32_t taps, uint32_t count)
{
    uint32_t c = 0;

    while (c < count) {
        c = way(strip, c, count);
        if (c < count) {
            compute(strip, taps, c, c + 4);
            c += 4;
        }
    }
}

/* The way that takes the most of so many pixels at once, and how many it takes. NULL: `compute`. */
static nrw_depthwise_way *way_of(const struct nrw_window *window, int32_t left, int32_t *pixels)
{
    const uint32_t taps = (uint32_t)window->kernel_h * window->kernel_w;

    *pixels = left < 4 ? left : 4;
    if (left >= 3 && nrw_depthwise_has_fours(window)) {
        return nrw_depthwise_four_dsp;
    }
    *pixels = left < 2 ? left : 2;
    if (left < 2) {
        return NULL;
    }
    return taps <= NRW_FEW_TAPS    ? nrw_depthwise_two_few_dsp
           : taps <= NRW_MORE_TAPS ? nrw_depthwise_two_more_dsp
                                   : nrw_depthwise_two_most_dsp;
}

/* Channels [0, count), a multiple of 4. */
static void compute_strip(const struct nrw_depthwise_strip *strip, uint32_t taps, uint32_t count)
{
    struct nrw_depthwise_strip part = *strip;

    for (; part.x0 < strip->x1; part.x0 = part.x1) {
        int32_t pixels;
        nrw_depthwise_way *const way = way_of(strip->window, strip->x1 - part.x0, &pixels);

        part.x1 = way ? part.x0 + pixels : strip->x1;
        if (way) {
            compute_by(way, &part, taps, count);
        } else {
            compute(&part, taps, 0, count);
        }
        part.out += (uint32_t)pixels * strip->out_stride;
    }
}

void nrw_depthwise_dsp(const struct nrw_depthwise_op *op, const struct nrw_window *window,
                       int32_t x0, int32_t x1, uint32_t first_channel, uint32_t count,
                       int8_t *out, uint32_t out_stride, void *scratch)
{
    const uint32_t taps = (uint32_t)window->kernel_h * window->kernel_w;
    const uint32_t whole = count & ~3u;
    struct nrw_depthwise_strip strip = {
        window, x0, x1, op->weights + first_channel, op->out_channels,
        op->channels + first_channel, op->in_zero_point, op->out_zero_point,
        nrw_finish_word(op->out_zero_point, op->act_min), out, out_stride,
    };

    if (op->depth_multiplier != 1 || count < 4 || taps > NRW_MOST_TAPS) {
        nrw_depthwise_c(op, window, x0, x1, first_channel, count, out, out_stride, scratch);
        return;
    }
    compute_strip(&strip, taps, whole);
    if (whole < count) {
        /* Some of the last four are computed again. */
        compute(&strip, taps, count - 4, count);
    }
    nrw_clamp_pixels(op->act_min, op->act_max, x1 - x0, count, out, out_stride);
}
