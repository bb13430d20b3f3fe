/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolutions in the form that cores without SIMD instructions are fast with: groups of four
 * output channels of two pixels, or of eight of one pixel (tile_blocked_fast.h). What of windows
 * stands side by side is found out once for all output channels.
 */
#include <string.h>

#include "conv.h"
#include "finish_fast.h"
#include "layouts.h"
#include "noinline.h"
#include "tile_blocked_fast.h"

enum { BLOCK_BYTES = NRW_LAYOUT_BLOCK * NRW_LAYOUT_BLOCK };

/* Windows of fewer than four channels are copied, so that their elements stand side by side: so
 * many at the most, of which there are four or one to a tap. That is enough for the first layers of
 * most networks, 3x3 windows over colours or 10x4 ones over sound. */
enum { MOST_COPIED = 40 };

/* Padding is read from a block of zero points, this many at a time, in the place of the copies. */
enum { PADDING = NRW_TILE_PIXELS * MOST_COPIED };

/* Enough for 3x3 windows with padding. Those that are in more pieces go by in parts. */
enum { MOST_STRETCHES = 8 };

/* Channels with which the loops leave sums as they are. */
static const struct nrw_channel no_channels[NRW_TILE_SUMS];

/* One pixel of a row, or two. */
struct strip {
    const struct nrw_conv_op *conv;
    const struct nrw_window *window;
    uint32_t pixels;
    uint32_t group;        /* output channels computed together */
    uint32_t block_bytes;  /* weights of four output channels */
    uint32_t first, count; /* output channels */
    int is_dense;          /* taps of a row stand side by side, with their weights */
    int in_parts;          /* the windows are, as they have more stretches than there is room for */
    struct nrw_taps taps[NRW_TILE_PIXELS];
    struct nrw_tiles tiles;
    struct nrw_stretch stretches[MOST_STRETCHES];
    int8_t bytes[PADDING]; /* copies, or padding */
};

/* --- Windows -------------------------------------------------------------------------------- */

static void add_stretch(struct nrw_tiles *tiles, struct nrw_stretch *stretch, const int8_t *a,
                        const int8_t *b, uint32_t weight_bytes, enum nrw_stretch_kind kind)
{
    stretch->in[0] = a;
    stretch->in[1] = b;
    stretch->weight_bytes = weight_bytes;
    stretch->kind = kind;
    tiles->behind = stretch + 1;
}

/* Adds elements whose weights stand side by side from the beginning of a block on: two stretches at
 * the most. */
static void add_elements(struct nrw_tiles *tiles, struct nrw_stretch *stretch, const int8_t *a,
                         const int8_t *b, uint32_t count)
{
    const uint32_t rest = count % NRW_LAYOUT_BLOCK, whole = count - rest;

    if (whole > 0) {
        add_stretch(tiles, stretch++, a, b, NRW_LAYOUT_BLOCK * whole,
                    (enum nrw_stretch_kind)(NRW_STRETCH_BLOCKS + whole / NRW_LAYOUT_BLOCK % 4));
    }
    if (rest > 0) {
        add_stretch(tiles, stretch, a + whole, b + whole, rest,
                    (enum nrw_stretch_kind)(NRW_STRETCH_ONE + rest - 1));
    }
}

/* A place in the windows: row, tap, element. */
struct place {
    int32_t i, j;
    uint32_t k;
};

/* The elements of a tap. NULL: it is padding. */
static const int8_t *tap_at(const struct strip *strip, const struct nrw_taps *taps,
                            const struct place *at)
{
    const struct nrw_window *const window = strip->window;
    const int8_t *const row = window->rows[at->i];

    if (!row || at->j < taps->first || at->j >= taps->end) {
        return NULL;
    }
    return nrw_pixel(window, row, taps->column + (at->j - taps->first) * window->dilation_w);
}

/* The next elements of the windows, in place, from taps of both pixels. Moves on to behind them. */
static void add_taps(struct strip *strip, struct place *at)
{
    const struct nrw_taps *const taps = strip->taps;
    const uint32_t depth = strip->conv->in_channels;
    const int8_t *a = tap_at(strip, &taps[0], at);
    const int8_t *b = tap_at(strip, &taps[1], at);
    const uint32_t left = depth - at->k;
    uint32_t count = left;

    if (a && b) {
        const int32_t end = taps[0].end < taps[1].end ? taps[0].end : taps[1].end;
        const int32_t some = strip->is_dense ? end - at->j : 1;

        count = (uint32_t)some * depth;
        at->j += some;
    } else {
        a = a ? a + at->k : strip->bytes;
        b = b ? b + at->k : strip->bytes;
        at->k += count = left < PADDING ? left : PADDING;
        if (at->k == depth) {
            at->k = 0;
            at->j++;
        }
    }
    add_elements(&strip->tiles, &strip->stretches[strip->tiles.behind - strip->tiles.begin], a,
                 b, count);
}

/* The windows from a place on, or what of them there is room for. Returns whether that was all. */
static int add_windows(struct strip *strip, struct place *at)
{
    const struct nrw_window *const window = strip->window;

    strip->tiles.begin = strip->tiles.behind = strip->stretches;
    for (; at->i < window->kernel_h; at->i++, at->j = 0) {
        while (at->j < window->kernel_w) {
            if (strip->tiles.behind > strip->stretches + MOST_STRETCHES - 2) {
                return 0;
            }
            add_taps(strip, at);
        }
    }
    return 1;
}

/* Copies taps of fewer than NRW_LAYOUT_BLOCK channels that stand `pitch` bytes apart to where they
 * stand `step` bytes apart. Returns where the next one goes. */
static int8_t *copy_taps(int8_t *to, uint32_t step, const int8_t *in, uint32_t pitch,
                         uint32_t depth, int32_t count)
{
    const uint32_t last = depth - 1;

    for (; count > 0; count--, to += step, in += pitch) {
        to[0] = in[0];
        if (last > 0) {
            to[1] = in[1];
            to[last] = in[last];
        }
    }
    return to;
}

/* Copies the elements of a window of fewer than NRW_LAYOUT_BLOCK channels, those of a tap `step`
 * bytes behind those of the one before. */
static void copy_window(int8_t *to, uint32_t step, const struct nrw_conv_op *conv,
                        const struct nrw_window *window, int32_t x)
{
    const struct nrw_taps taps = nrw_taps_inside(window, x);
    const uint32_t pitch = window->dilation_w * window->pixel_stride;
    const uint32_t depth = conv->in_channels;
    const int8_t zero_point = (int8_t)conv->in_zero_point;
    const int8_t padding[NRW_LAYOUT_BLOCK] = {zero_point, zero_point, zero_point};

    for (uint32_t i = 0; i < window->kernel_h; i++) {
        const int8_t *const row = window->rows[i];
        const int32_t first = row ? taps.first : window->kernel_w;
        const int32_t end = row ? taps.end : window->kernel_w;

        to = copy_taps(to, step, padding, 0, depth, first);
        if (first < end) {
            to = copy_taps(to, step, nrw_pixel(window, row, taps.column), pitch, depth,
                           end - first);
        }
        to = copy_taps(to, step, padding, 0, depth, window->kernel_w - end);
    }
}

/* The windows of output pixels x and after, copied. */
static void add_copies(struct strip *strip, int32_t x, uint32_t taps)
{
    const uint32_t step = strip->conv->in_channels == 1 ? 1 : NRW_LAYOUT_BLOCK;
    int8_t *const a = strip->bytes, *const b = a + MOST_COPIED;

    strip->tiles.begin = strip->stretches;
    copy_window(a, step, strip->conv, strip->window, x);
    if (strip->pixels > 1) {
        copy_window(b, step, strip->conv, strip->window, x + 1);
    }
    if (step == 1) {
        add_stretch(&strip->tiles, strip->stretches, a, b, BLOCK_BYTES * taps,
                    NRW_STRETCH_SPARSE);
    } else if (strip->conv->in_channels == 3 && taps % 3 == 0) {
        add_stretch(&strip->tiles, strip->stretches, a, b, BLOCK_BYTES * taps,
                    NRW_STRETCH_THREES);
    } else {
        add_elements(&strip->tiles, strip->stretches, a, b, taps * step);
    }
}

/* --- Output channels ------------------------------------------------------------------------ */

/* Finishes the group whose sums are left. */
static NRW_NOINLINE void finish_group(struct strip *strip)
{
    const struct nrw_conv_op *const conv = strip->conv;
    struct nrw_tiles *const tiles = &strip->tiles;

    for (uint32_t o = 0; o < strip->group; o++, tiles->channels++) {
        for (uint32_t p = 0; p < strip->pixels; p++) {
            const int32_t last = tiles->last[p * strip->group + o];
            const uint32_t sum = (uint32_t)last - (uint32_t)tiles->channels->bias;

            *tiles->out[p]++ =
                o < tiles->finished
                    ? (int8_t)last
                    : nrw_finish(tiles->channels, sum, conv->out_zero_point, conv->act_min,
                                 conv->act_max);
        }
    }
}

static void run_tiles(struct strip *strip)
{
    if (strip->pixels > 1) {
        nrw_tiles_of_two(&strip->tiles);
    } else {
        nrw_tiles_of_one(&strip->tiles);
    }
}

/* The sums of a group whose windows go by in parts. */
static NRW_NOINLINE void sum_parts(struct strip *strip)
{
    struct nrw_tiles *const tiles = &strip->tiles;
    const struct nrw_channel *const channels = tiles->channels, *const end = tiles->end;
    struct place at = {0, 0, 0};
    int32_t sums[NRW_TILE_SUMS];
    int is_last;

    for (uint32_t k = 0; k < NRW_TILE_SUMS; k++) {
        sums[k] = channels[k % strip->group].bias;
    }
    do {
        is_last = add_windows(strip, &at);
        tiles->channels = no_channels;
        tiles->end = no_channels + 1;
        run_tiles(strip);
        tiles->weights -= is_last ? 0 : tiles->second_half;
        for (uint32_t k = 0; k < NRW_TILE_SUMS; k++) {
            sums[k] = nrw_wrapping_add(sums[k], tiles->last[k]);
        }
    } while (!is_last);
    memcpy(tiles->last, sums, sizeof sums);
    tiles->channels = channels;
    tiles->end = end;
}

/* Computes so many groups. */
static void compute_groups(struct strip *strip, uint32_t count)
{
    struct nrw_tiles *const tiles = &strip->tiles;

    tiles->end = tiles->channels + count * strip->group;
    while (tiles->channels < tiles->end) {
        if (strip->in_parts) {
            sum_parts(strip);
        } else {
            run_tiles(strip);
        }
        if (tiles->finished < strip->group) {
            finish_group(strip);
        }
    }
}

/* Computes `count` output channels, of which a group has `lead` before: the whole group, in which
 * others take the constants of the first one, to where it does not matter. */
static NRW_NOINLINE void compute_few(struct strip *strip, uint32_t lead, uint32_t count)
{
    struct nrw_tiles *const tiles = &strip->tiles;
    const struct nrw_channel *const channels = tiles->channels;
    int8_t *const out[NRW_TILE_PIXELS] = {tiles->out[0], tiles->out[1]};
    const uint32_t second_half = tiles->second_half;
    struct nrw_channel few[NRW_TILE_SUMS];
    int8_t bytes[NRW_TILE_PIXELS][NRW_TILE_SUMS];

    for (uint32_t o = 0; o < strip->group; o++) {
        few[o] = channels[o - lead < count ? o - lead : 0];
    }
    tiles->channels = few;
    tiles->out[0] = bytes[0];
    tiles->out[1] = bytes[1];
    if (lead + count <= NRW_LAYOUT_BLOCK) {
        tiles->second_half = 0;
    }
    compute_groups(strip, 1);
    tiles->channels = channels + count;
    tiles->second_half = second_half;
    for (uint32_t p = 0; p < strip->pixels; p++) {
        memcpy(out[p], bytes[p] + lead, count);
        tiles->out[p] = out[p] + count;
    }
}

/* The outputs of the strip's pixels, whose windows are known. */
static void compute(struct strip *strip, int8_t *out, uint32_t out_stride)
{
    const struct nrw_conv_op *const conv = strip->conv;
    const uint32_t lead = strip->first % NRW_LAYOUT_BLOCK;
    uint32_t count = strip->count;

    strip->group = NRW_TILE_SUMS / strip->pixels;
    strip->tiles.weights =
        conv->weights + (size_t)(strip->first / NRW_LAYOUT_BLOCK) * strip->block_bytes;
    strip->tiles.second_half = strip->pixels > 1 ? 0 : strip->block_bytes;
    strip->tiles.channels = conv->channels + strip->first;
    strip->tiles.out[0] = out;
    strip->tiles.out[1] = out + out_stride;
    if (lead > 0) {
        const uint32_t most = strip->group - lead, few = count < most ? count : most;

        compute_few(strip, lead, few);
        count -= few;
    }
    compute_groups(strip, count / strip->group);
    if (count % strip->group > 0) {
        compute_few(strip, 0, count % strip->group);
    }
    if (conv->act_min > INT8_MIN || conv->act_max < INT8_MAX) {
        for (uint32_t p = 0; p < strip->pixels; p++, out += out_stride) {
            for (uint32_t o = 0; o < strip->count; o++) {
                out[o] = (int8_t)nrw_clamp(out[o], conv->act_min, conv->act_max);
            }
        }
    }
}

/* Whether pixels [x0, x1) of a convolution of one tap have all their elements. */
static int are_pixels(const struct nrw_window *window, int32_t x0, int32_t x1)
{
    return window->kernel_h * window->kernel_w == 1 && window->rows[0] &&
           x0 * window->stride_w >= window->pad_left &&
           (x1 - 1) * window->stride_w - window->pad_left < window->in_width;
}

void nrw_conv_blocked_fast(const struct nrw_conv_op *conv, const struct nrw_window *window,
                           int32_t x0, int32_t x1, uint32_t first_output, uint32_t count,
                           int8_t *out, uint32_t out_stride, void *scratch)
{
    const uint32_t depth = conv->in_channels;
    const uint32_t taps = (uint32_t)window->kernel_h * window->kernel_w;
    const int is_copied =
        depth < NRW_LAYOUT_BLOCK && taps <= MOST_COPIED / (depth == 1 ? 1 : NRW_LAYOUT_BLOCK);
    const int in_pixels = are_pixels(window, x0, x1);
    const uint32_t next = window->stride_w * window->pixel_stride;
    struct strip strip;

    if (taps > NRW_MOST_PRODUCTS / depth) {
        nrw_conv_blocked_c(conv, window, x0, x1, first_output, count, out, out_stride, scratch);
        return;
    }
    strip.conv = conv;
    strip.window = window;
    strip.block_bytes = NRW_LAYOUT_BLOCK * taps * nrw_whole_blocks(depth);
    strip.first = first_output;
    strip.count = count;
    strip.is_dense = depth % NRW_LAYOUT_BLOCK == 0 && window->dilation_w == 1 &&
                     window->pixel_stride == depth;
    strip.in_parts = 0;
    strip.tiles.rounding = nrw_finish_word(conv->out_zero_point, conv->act_min);
    if (!in_pixels) {
        memset(strip.bytes, conv->in_zero_point, sizeof strip.bytes);
    }
    for (int32_t x = x0; x < x1; x += (int32_t)strip.pixels) {
        strip.pixels = x1 - x >= NRW_TILE_PIXELS ? NRW_TILE_PIXELS : 1;
        if (in_pixels) {
            const int8_t *const in =
                nrw_pixel(window, window->rows[0], x * window->stride_w - window->pad_left);

            strip.tiles.begin = strip.stretches;
            add_elements(&strip.tiles, strip.stretches, in, in + next, depth);
        } else if (is_copied) {
            add_copies(&strip, x, taps);
        } else {
            struct place at = {0, 0, 0};

            strip.taps[0] = nrw_taps_inside(window, x);
            strip.taps[1] = nrw_taps_inside(window, x + (int32_t)strip.pixels - 1);
            strip.in_parts = !add_windows(&strip, &at);
        }
        compute(&strip, out, out_stride);
        out += strip.pixels * out_stride;
    }
}

/* --- Slices --------------------------------------------------------------------------------- */

/* Adds the products of a slice's elements, whose weights stand in whole blocks or in one, of up to
 * two pixels. */
static void accumulate(struct nrw_tiles *tiles, const struct nrw_conv_op *conv,
                       uint32_t first_input, uint32_t pixels, int32_t *sums)
{
    const uint32_t outputs = conv->out_channels;
    const int8_t *weights = conv->weights + nrw_blocked_at(0, first_input, 0);

    for (uint32_t o = 0; o < outputs; o += NRW_LAYOUT_BLOCK) {
        const uint32_t some = outputs - o < NRW_LAYOUT_BLOCK ? outputs - o : NRW_LAYOUT_BLOCK;

        tiles->weights = weights;
        tiles->channels = no_channels;
        tiles->end = no_channels + 1;
        nrw_tiles_of_two(tiles);
        weights += NRW_LAYOUT_BLOCK * nrw_whole_blocks(conv->in_channels);
        for (uint32_t p = 0; p < pixels; p++) {
            for (uint32_t k = 0; k < some; k++) {
                int32_t *const sum = &sums[p * outputs + o + k];

                *sum = nrw_wrapping_add(*sum, tiles->last[p * NRW_LAYOUT_BLOCK + k]);
            }
        }
    }
}

void nrw_conv_accumulate_blocked_fast(const struct nrw_conv_op *conv, uint32_t first_input,
                                      uint32_t count, const int8_t *in, uint32_t in_stride,
                                      uint32_t pixels, int32_t *sums)
{
    const uint32_t left = (0u - first_input) % NRW_LAYOUT_BLOCK; /* of a block that is begun */
    const uint32_t head = left < count ? left : count;
    struct nrw_stretch stretches[2];
    struct nrw_tiles tiles;
    uint32_t some;

    tiles.rounding = 0;
    tiles.begin = stretches;
    for (; pixels > 0; pixels -= some, in += some * in_stride, sums += some * conv->out_channels) {
        const int8_t *const other = in + (pixels > 1 ? in_stride : 0);

        some = pixels > 1 ? 2 : 1;
        if (head > 0) {
            add_elements(&tiles, stretches, in, other, head);
            accumulate(&tiles, conv, first_input, some, sums);
        }
        if (count > head) {
            add_elements(&tiles, stretches, in + head, other + head, count - head);
            accumulate(&tiles, conv, first_input + head, some, sums);
        }
    }
}
