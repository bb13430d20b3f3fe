/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolution with the SIMD instructions of Armv7E-M and Armv8-M. The windows of two output pixels
 * are widened to 16 bits, in pairs of elements that stand side by side; then four output channels
 * of both pixels are summed at a time, in eight registers (conv_groups.h). A window that is longer
 * than what is widened at a time goes by in parts, from one to the next of which the sums of all
 * output channels are kept.
 */
#include <string.h>

#include "conv.h"
#include "conv_groups.h"
#include "dsp.h"
#include "finish_dsp.h"
#include "layouts.h"
#include "widen_dsp.h"

/* Up to two pixels of a row. */
struct strip {
    const struct nrw_conv_op *conv;
    uint32_t pixels;
    uint32_t elements;     /* of a window */
    uint32_t group_bytes;  /* of weights, of whole windows */
    uint32_t first, count; /* output channels */
    uint32_t *scratch;
    struct nrw_dsp_windows windows;
    struct nrw_groups groups;
};

/* Finishes the group with an odd channel that the assembly has left. */
static NRW_NOINLINE void finish_group(struct strip *strip)
{
    const struct nrw_conv_op *const conv = strip->conv;
    struct nrw_groups *const groups = &strip->groups;

    for (uint32_t o = 0; o < NRW_GROUP; o++, groups->channels++) {
        for (uint32_t k = 0; k < strip->pixels; k++) {
            const int32_t last = groups->last[o][k];

            *groups->to.out[k]++ =
                o < groups->finished
                    ? (int8_t)nrw_clamp(last, conv->act_min, conv->act_max)
                    : nrw_finish(groups->channels,
                                 (uint32_t)last - (uint32_t)groups->channels->bias,
                                 conv->out_zero_point, conv->act_min, conv->act_max);
        }
    }
}

/* Computes so many groups, from where the assembly has come to, or leaves their sums. */
static void compute_groups(struct strip *strip, uint32_t count)
{
    struct nrw_groups *const groups = &strip->groups;

    groups->weights_end = groups->weights + count * strip->group_bytes;
    while (groups->weights != groups->weights_end) {
        if (strip->pixels == NRW_PIXELS) {
            nrw_conv_sum_two_dsp(groups);
        } else {
            nrw_conv_sum_one_dsp(groups);
        }
        if (groups->finished < NRW_GROUP) {
            finish_group(strip);
        }
    }
}

/* Computes `count` output channels, of which a group has `lead` before: the whole group, in which
 * others take the constants of the first one, to where it does not matter. */
static NRW_NOINLINE void compute_few(struct strip *strip, uint32_t lead, uint32_t count)
{
    struct nrw_groups *const groups = &strip->groups;
    const struct nrw_channel *const channels = groups->channels;
    int8_t *const out[NRW_PIXELS] = {groups->to.out[0], groups->to.out[1]};
    struct nrw_channel few[NRW_GROUP];
    int8_t bytes[NRW_PIXELS][NRW_GROUP];

    for (uint32_t o = 0; o < NRW_GROUP; o++) {
        few[o] = channels[o - lead < count ? o - lead : 0];
    }
    groups->channels = few;
    groups->to.out[0] = bytes[0];
    groups->to.out[1] = bytes[1];
    compute_groups(strip, 1);
    groups->channels = channels + count;
    for (uint32_t k = 0; k < NRW_PIXELS; k++) {
        groups->to.out[k] = out[k] + count;
        if (k < strip->pixels) {
            memcpy(out[k], bytes[k] + lead, count);
        }
    }
}

/* Computes the strip's output channels. */
static void compute(struct strip *strip)
{
    const uint32_t lead = strip->first % NRW_GROUP;
    const uint32_t most = NRW_GROUP - lead;
    uint32_t count = strip->count;

    strip->groups.channels = strip->conv->channels + strip->first;
    if (lead > 0) {
        const uint32_t few = count < most ? count : most;

        compute_few(strip, lead, few);
        count -= few;
    }
    compute_groups(strip, count / NRW_GROUP);
    if (count % NRW_GROUP > 0) {
        compute_few(strip, 0, count % NRW_GROUP);
    }
}

/* Widens the next elements of the strip's pixels. */
static void widen(struct strip *strip, uint32_t elements)
{
    struct nrw_groups *const groups = &strip->groups;
    const uint32_t pairs = nrw_pairs(elements);
    /* One pixel's window begins with a pair that is left out, if the number of pairs is odd. */
    const uint32_t lead = strip->pixels == NRW_PIXELS ? 0 : pairs % 2;
    const uint32_t rest = (0u - pairs) % NRW_STEPS;
    int32_t sums[NRW_PIXELS];

    nrw_widen_windows(&strip->windows, elements, strip->scratch + lead, sums);
    groups->offset[0] = 128u * (uint32_t)sums[0];
    groups->window = strip->scratch;
    if (strip->pixels == NRW_PIXELS) {
        groups->offset[1] = 128u * (uint32_t)sums[1];
        groups->window_end = strip->scratch + NRW_PIXELS * pairs;
        groups->entry = rest * NRW_CODE_OF_TWO;
    } else {
        groups->window_end = strip->scratch + lead + pairs;
        groups->entry = rest / 2 * NRW_CODE_OF_ONE + lead * NRW_CODE_OF_PAIR;
    }
}

/* Weights from a pair of the first group on. */
static const int8_t *weights_from(const struct strip *strip, uint32_t pair)
{
    return strip->conv->weights +
           strip->first / NRW_GROUP * strip->group_bytes + NRW_PAIR_BYTES * pair;
}

/* --- Parts of windows ------------------------------------------------------------------------- */

/* The sums that the first part of so many groups begins with, as struct nrw_groups has them. */
static void begin_sums(const struct strip *strip, uint32_t groups, int32_t *sums)
{
    const struct nrw_channel *const channels = strip->conv->channels;
    const uint32_t pixels = strip->pixels, asked = strip->first, count = strip->count;
    const uint32_t first = asked - asked % NRW_GROUP;

    for (uint32_t o = first; o < first + NRW_GROUP * groups; o += 2, sums += 2 * pixels) {
        /* Channels that are not asked for may not be there. */
        const int32_t even = o - asked < count ? channels[o].bias : 0;
        const int32_t odd = o + 1 - asked < count ? channels[o + 1].bias : 0;

        sums[0] = sums[1] = (int32_t)((uint32_t)even + ((uint32_t)odd << 8));
        sums[pixels] = sums[2 * pixels - 1] = odd;
    }
}

/* Output channels whose sums are kept, behind so many pairs that are widened at a time. */
static void compute_channels(struct strip *strip, uint32_t pairs)
{
    const uint32_t lead = strip->first % NRW_GROUP;
    const uint32_t groups = (lead + strip->count + NRW_GROUP - 1) / NRW_GROUP;
    int32_t *const sums = (int32_t *)strip->scratch + strip->pixels * pairs;

    begin_sums(strip, groups, sums);
    for (uint32_t done = 0; done < strip->elements;) {
        const uint32_t rest = strip->elements - done;
        const uint32_t some = rest < 2 * pairs ? rest : 2 * pairs;

        widen(strip, some);
        strip->groups.sums = sums;
        strip->groups.weights_skip = strip->group_bytes - NRW_PAIR_BYTES * nrw_pairs(some);
        strip->groups.weights = weights_from(strip, done / 2) - strip->groups.weights_skip;
        done += some;
        if (done < strip->elements) {
            strip->groups.channels = NULL;
            compute_groups(strip, groups);
        } else {
            compute(strip);
        }
    }
}

/* The windows go by in parts of so many pairs, again for all the channels whose sums are kept. */
static void compute_in_parts(struct strip *strip, int32_t x, uint32_t pairs)
{
    const uint32_t first = strip->first, end = first + strip->count;

    while (strip->count > 0) {
        const uint32_t room = NRW_GROUP * NRW_KEPT_GROUPS - strip->first % NRW_GROUP;
        const uint32_t rest = strip->count;

        strip->count = rest < room ? rest : room;
        nrw_windows_at(&strip->windows, x, strip->pixels);
        compute_channels(strip, pairs);
        strip->first += strip->count;
        strip->count = rest - strip->count;
    }
    strip->first = first;
    strip->count = end - first;
}

/* --- Whole windows ---------------------------------------------------------------------------- */

/* Where the outputs of the next column go, and of the one behind it if it is of the strip. */
static void begin_pixels(struct strip *strip, int8_t *out, uint32_t out_stride)
{
    strip->groups.to.out[0] = out;
    strip->groups.to.out[1] = out + (strip->pixels - 1) * out_stride;
}

/* Pairs of pixels from column x on whose windows lie inside the rows, and whole groups of output
 * channels: most pixels of most layers. Returns the first column that is left. */
static NRW_NOINLINE int32_t compute_pairs(struct strip *strip, int32_t x, int32_t x1, int8_t *out,
                                          uint32_t out_stride)
{
    struct nrw_groups *const groups = &strip->groups;
    const uint32_t pairs = nrw_pairs(strip->elements);
    struct nrw_two_rows rows;

    nrw_two_rows_of(&rows, &strip->windows, x);
    strip->pixels = NRW_PIXELS;
    groups->sums = NULL;
    groups->window = strip->scratch;
    groups->window_end = strip->scratch + NRW_PIXELS * pairs;
    groups->entry = (0u - pairs) % NRW_STEPS * NRW_CODE_OF_TWO;
    for (; x + NRW_PIXELS <= x1 && nrw_are_inside(&strip->windows, x); x += NRW_PIXELS) {
        nrw_widen_two_rows(&rows, &strip->windows, strip->scratch);
        rows.offset += (ptrdiff_t)(NRW_PIXELS * rows.apart);
        groups->offset[0] = 128u * (uint32_t)rows.sums[0];
        groups->offset[1] = 128u * (uint32_t)rows.sums[1];
        groups->weights = weights_from(strip, 0);
        groups->channels = strip->conv->channels + strip->first;
        begin_pixels(strip, out, out_stride);
        compute_groups(strip, strip->count / NRW_GROUP);
        out += NRW_PIXELS * out_stride;
    }
    return x;
}

/* One pixel or two of any strip, from column x on. */
static void compute_any(struct strip *strip, int32_t x)
{
    nrw_windows_at(&strip->windows, x, strip->pixels);
    widen(strip, strip->elements);
    strip->groups.sums = NULL;
    strip->groups.weights = weights_from(strip, 0);
    compute(strip);
}

void nrw_conv_paired_dsp(const struct nrw_conv_op *conv, const struct nrw_window *window,
                         int32_t x0, int32_t x1, uint32_t first_output, uint32_t count,
                         int8_t *out, uint32_t out_stride, void *scratch)
{
    const uint32_t taps = (uint32_t)window->kernel_h * window->kernel_w;
    const uint32_t all = nrw_pairs(taps * conv->in_channels);
    const uint32_t pairs = nrw_widened_pairs(taps, all, (uint32_t)(x1 - x0));
    const int are_usual =
        pairs == all && first_output % NRW_GROUP == 0 && count % NRW_GROUP == 0;
    struct strip strip;

    nrw_dsp_windows_of(&strip.windows, conv, window);
    strip.conv = conv;
    strip.elements = taps * conv->in_channels;
    strip.group_bytes = NRW_PAIR_BYTES * all;
    strip.first = first_output;
    strip.count = count;
    strip.scratch = scratch;
    strip.groups.zero_point = nrw_finish_word(conv->out_zero_point, conv->act_min);
    strip.groups.act_min = 0x01010101u * (uint8_t)conv->act_min;
    strip.groups.act_max = 0x01010101u * (uint8_t)conv->act_max;
    strip.groups.is_clamped = conv->act_min > INT8_MIN || conv->act_max < INT8_MAX;
    for (int32_t x = x0; x < x1;) {
        int8_t *const pixel = out + (uint32_t)(x - x0) * out_stride;

        if (are_usual && x1 - x >= NRW_PIXELS && nrw_are_inside(&strip.windows, x)) {
            x = compute_pairs(&strip, x, x1, pixel, out_stride);
            continue;
        }
        strip.pixels = x1 - x >= NRW_PIXELS ? NRW_PIXELS : 1;
        begin_pixels(&strip, pixel, out_stride);
        if (pairs < all) {
            compute_in_parts(&strip, x, pairs);
        } else {
            compute_any(&strip, x);
        }
        x += (int32_t)strip.pixels;
    }
}

/* --- Slices ----------------------------------------------------------------------------------- */

/* Pairs that are widened on the stack at a time. */
enum { CHUNK = 16 };

/* Some elements of up to two pixels: pairs[count][NRW_PIXELS], the second pixel's are 0 if it is
 * not there. */
struct chunk {
    uint32_t pairs[CHUNK * NRW_PIXELS];
    uint32_t count;
    uint32_t totals[NRW_PIXELS]; /* of each pixel's elements */
    uint32_t pixels;
};

/* Adds the chunk's products to the `channels` of a group that is not whole; sums of pixel k:
 * sums + k * stride. */
static void add_few(const struct chunk *chunk, const int8_t *weights, uint32_t channels,
                    int32_t *sums, uint32_t stride)
{
    for (uint32_t o = 0; o < channels; o++) {
        for (uint32_t k = 0; k < chunk->pixels; k++) {
            int32_t sum = sums[k * stride + o];

            for (uint32_t e = 0; e < 2 * chunk->count; e++) {
                const size_t at = nrw_paired_at(o, e, 2 * chunk->count);
                const uint32_t pair = chunk->pairs[e / 2 * NRW_PIXELS + k];
                const int16_t x = (int16_t)(e % 2 ? pair >> 16 : pair);

                sum = nrw_wrapping_add(sum, nrw_paired_weight(at, weights[at]) * x);
            }
            sums[k * stride + o] = sum;
        }
    }
}

/* The same for all output channels. weights: of the chunk's first pair. */
static void add_chunk(const struct nrw_conv_op *conv, const struct chunk *chunk,
                      const int8_t *weights, int32_t *sums)
{
    const uint32_t stride = conv->out_channels;
    const uint32_t whole = stride / NRW_GROUP;
    const uint32_t group_bytes = NRW_PAIR_BYTES * nrw_pairs(conv->in_channels);
    struct nrw_groups groups;

    groups.weights = weights;
    groups.weights_skip = group_bytes - NRW_PAIR_BYTES * chunk->count;
    groups.to.sums_of[0] = sums;
    /* A second pixel that is not there adds zeros to the first. */
    groups.to.sums_of[1] = sums + (chunk->pixels - 1) * stride;
    for (uint32_t k = 0; k < NRW_PIXELS; k++) {
        groups.offset[k] = 128u * chunk->totals[k];
    }
    groups.window = chunk->pairs;
    groups.window_end = chunk->pairs + chunk->count * NRW_PIXELS;
    groups.entry = (0u - chunk->count) % NRW_STEPS * NRW_CODE_OF_TWO;
    groups.weights_end = weights + whole * group_bytes;
    if (whole > 0) {
        nrw_conv_add_two_dsp(&groups);
    }
    add_few(chunk, weights + whole * group_bytes, stride % NRW_GROUP, sums + whole * NRW_GROUP,
            stride);
}

/* Some input channels of up to two pixels, not more than CHUNK pairs. */
static void accumulate_chunk(const struct nrw_conv_op *conv, uint32_t first, uint32_t count,
                             const int8_t *in, uint32_t in_stride, uint32_t pixels, int32_t *sums)
{
    /* An odd first channel is the second of its pair. */
    const uint32_t lead = first % 2;
    struct chunk chunk;

    chunk.count = nrw_pairs(lead + count);
    chunk.pixels = pixels;
    chunk.totals[1] = 0;
    if (lead > 0 || pixels < NRW_PIXELS) {
        memset(chunk.pairs, 0, chunk.count * NRW_PIXELS * sizeof *chunk.pairs);
    }
    for (uint32_t k = 0; k < pixels; k++) {
        struct nrw_widened to = {chunk.pairs + k, NRW_PIXELS, lead, 0};

        nrw_widen(&to, in + k * in_stride, count);
        chunk.totals[k] = (uint32_t)to.sum;
    }
    add_chunk(conv, &chunk, conv->weights + nrw_paired_at(0, first - lead, conv->in_channels),
              sums);
}

void nrw_conv_accumulate_paired_dsp(const struct nrw_conv_op *conv, uint32_t first_input,
                                    uint32_t count, const int8_t *in, uint32_t in_stride,
                                    uint32_t pixels, int32_t *sums)
{
    while (pixels > 0) {
        const uint32_t some = pixels < NRW_PIXELS ? pixels : NRW_PIXELS;

        for (uint32_t c = 0; c < count;) {
            const uint32_t room = 2 * CHUNK - (first_input + c) % 2;
            const uint32_t part = count - c < room ? count - c : room;

            accumulate_chunk(conv, first_input + c, part, in + c, in_stride, some, sums);
            c += part;
        }
        pixels -= some;
        in += some * in_stride;
        sums += some * conv->out_channels;
    }
}
