/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolution with Helium: products of two neighbouring pixels' windows and four rows of weights at
 * a time. A small window is copied side by side, so that it is read as one row.
 */
#include <arm_mve.h>

#include "conv_mve.h"
#include "copy_mve.h"

static inline int has_all_rows(const struct nrw_window *window)
{
    uint32_t i = 0;

    while (i < window->kernel_h && window->rows[i]) {
        i++;
    }
    return i == window->kernel_h;
}

/* --- Products --------------------------------------------------------------------------------- */

static inline void dot(struct nrw_products *products, uint32_t pixels)
{
    if (pixels == 1) {
        nrw_dot_1(products);
    } else {
        nrw_dot_2(products);
    }
}

/* The products of the runs that are listed. */
static void add_runs(struct runs *runs, const struct nrw_products *all, uint32_t pixels)
{
    struct nrw_products products = *all;

    runs->list[runs->used].in[0] = NULL;
    products.weights += runs->first;
    products.runs = runs->list;
    products.count = runs->count;
    dot(&products, pixels);
}

/* Lists a run, of which only those of one size can stand in the list. */
static inline void list_run(struct runs *runs, uint32_t pixels, const int8_t *in0,
                            const int8_t *in1, uint32_t count)
{
    if (runs->used == MOST_RUNS || (runs->count != count && runs->used > 0)) {
        runs->is_part = 1;
        if (runs->all) {
            add_runs(runs, runs->all, pixels);
        }
        runs->first += runs->used * runs->count;
        runs->used = 0;
    }
    runs->count = count;
    runs->list[runs->used].in[0] = in0;
    runs->list[runs->used].in[1] = in1;
    runs->used++;
}

/* The input channels of a tap; NULL where it is padding. */
static void list_tap(const struct pair *pair, const int8_t *const in[PIXELS])
{
    const uint32_t channels = pair->conv->in_channels;
    const uint32_t most = in[0] && in[1] ? channels : PADDING;
    int8_t *const padding = pair->room->parts.padding;

    for (uint32_t k = 0; k < channels; k += most) {
        const uint32_t left = channels - k;

        list_run(&pair->room->parts.runs, pair->pixels, in[0] ? in[0] + k : padding,
                 in[1] ? in[1] + k : padding, left < most ? left : most);
    }
}

/* The taps of a row, one by one. row: NULL if all are padding. */
static void list_row(const struct pair *pair, const struct nrw_taps taps[PIXELS],
                     const int8_t *row)
{
    const struct nrw_window *const window = pair->window;
    const size_t step = window->dilation_w * (size_t)window->pixel_stride;
    const int8_t *next[PIXELS] = {NULL, NULL};

    for (uint32_t p = 0; row && p < PIXELS; p++) {
        next[p] = nrw_pixel(window, row, taps[p].column);
    }
    for (int32_t j = 0; j < window->kernel_w; j++) {
        const int8_t *in[PIXELS] = {NULL, NULL};

        for (uint32_t p = 0; row && p < PIXELS; p++) {
            if (j >= taps[p].first && j < taps[p].end) {
                in[p] = next[p];
                next[p] += step;
            }
        }
        list_tap(pair, in);
    }
}

/* Lists windows that are no single rows: a row of taps is one run if it is dense and has no
 * padding. all: as that of the runs. Returns whether the list is of all runs. */
static int list_windows(const struct pair *pair, const struct nrw_products *all)
{
    const struct nrw_window *const window = pair->window;
    const uint32_t channels = pair->conv->in_channels;
    const int32_t second = pair->x + (int32_t)pair->pixels - 1;
    const struct nrw_taps taps[PIXELS] = {nrw_taps_inside(window, pair->x),
                                          nrw_taps_inside(window, second)};
    const int32_t width = window->kernel_w;
    const int dense = pair->is_dense && taps[0].end - taps[0].first == width &&
                      taps[1].end - taps[1].first == width;
    struct runs *const runs = &pair->room->parts.runs;

    runs->used = 0;
    runs->first = 0;
    runs->all = all;
    runs->is_part = 0;
    if (!dense) {
        (void)nrw_fill(pair->room->parts.padding, pair->conv->in_zero_point, PADDING);
    }
    for (uint32_t i = 0; i < window->kernel_h; i++) {
        const int8_t *const row = window->rows[i];

        if (dense) {
            list_run(runs, pair->pixels, nrw_pixel(window, row, taps[0].column),
                     nrw_pixel(window, row, taps[1].column), window->kernel_w * channels);
        } else {
            list_row(pair, taps, row);
        }
    }
    runs->list[runs->used].in[0] = NULL;
    return !runs->is_part;
}

static inline struct nrw_outputs conv_outputs(const struct nrw_conv_op *conv,
                                              const struct nrw_channel *channels, uint32_t count)
{
    const struct nrw_outputs outputs = {channels, count, conv->out_zero_point, conv->act_min,
                                        conv->act_max, conv->most_shift, 1, 0};

    return outputs;
}

static inline void clear(int32_t *sums, uint32_t groups)
{
    for (uint32_t k = 0; k < groups; k++) {
        vstrwq_s32(sums + k * GROUP, vdupq_n_s32(0));
    }
}

/* One to three output channels, each computed as a group of which one channel counts. */
static void convolve_single(const struct pair *pair, const struct nrw_channel *channels,
                            const int8_t *weights, uint32_t count, int8_t *out)
{
    const struct nrw_conv_op *const conv = pair->conv;
    const struct nrw_inputs run[] = {{{pair->in[0], pair->in[1]}}, {{NULL, NULL}}};
    int32_t sums[PIXELS][(GROUP - 1) * GROUP] = {{0}};
    struct nrw_products products = {{sums[0], sums[1]}, weights, 0, pair->depth,
                                    count, run, pair->depth};

    if (pair->in[0]) {
        dot(&products, pair->pixels);
    } else {
        (void)list_windows(pair, &products);
        add_runs(&pair->room->parts.runs, &products, pair->pixels);
    }
    for (uint32_t p = 0; p < pair->pixels; p++, out += pair->out_stride) {
        for (uint32_t k = 0; k < count; k++) {
            out[k] = nrw_finish(&channels[k], (uint32_t)sums[p][k * GROUP], conv->out_zero_point,
                                conv->act_min, conv->act_max);
        }
    }
}

/* Whole groups of output channels of windows whose runs are more than the list has room for. No
 * part of the caller, which needs less stack. */
APART static void convolve_parts(const struct pair *pair, struct nrw_rows *rows,
                                     const int8_t *weights, uint32_t count)
{
    int32_t sums[PIXELS][NRW_BLOCK];
    struct nrw_products products = {{sums[0], sums[1]}, weights, pair->depth,
                                    GROUP * pair->depth, 0, NULL, 0};

    for (; count > 0; count -= products.groups * GROUP) {
        products.groups = (count < NRW_BLOCK ? count : NRW_BLOCK) / GROUP;
        rows->groups = products.groups;
        clear(sums[0], PIXELS * NRW_BLOCK / GROUP);
        (void)list_windows(pair, &products);
        add_runs(&pair->room->parts.runs, &products, pair->pixels);
        products.weights += products.groups * products.step;
        if (pair->pixels == 1) {
            nrw_finish_1(sums[0], sums[1], rows);
        } else {
            nrw_finish_2(sums[0], sums[1], rows);
        }
    }
}

/* Whole groups of output channels of windows that are no single rows. */
static void convolve_windows(const struct pair *pair, struct nrw_rows *rows,
                             const int8_t *weights, uint32_t count)
{
    struct runs *const runs = &pair->room->parts.runs;

    if (!list_windows(pair, NULL)) {
        convolve_parts(pair, rows, weights, count);
        return;
    }
    rows->weights = weights;
    rows->groups = count / GROUP;
    rows->in0 = runs->list[0].in[0];
    rows->in1 = runs->list[0].in[1];
    rows->runs = runs->list + 1;
    rows->count = runs->count;
    if (pair->pixels == 1) {
        nrw_convolve_runs_1(rows);
    } else {
        nrw_convolve_runs_2(rows);
    }
}

/* Whole groups of output channels of one pixel, and of pairs, whose inputs are each a row. */
static inline void convolve_row(struct nrw_rows *rows)
{
    struct nrw_single_run run = {rows->in0, rows->count};

    if (rows->count > NRW_WHOLE || rows->rounding == NRW_ANY) {
        nrw_convolve_1(rows);
    } else if (rows->count <= 4 * VECTOR && rows->count % VECTOR == 0) {
        nrw_convolve_short_1(rows);
    } else {
        rows->runs = &run;
        rows->run_count = 1;
        nrw_convolve_whole_1(rows);
    }
}

/* in_step, out_step: from one pair to the next, in bytes. */
static inline void convolve_pairs(struct nrw_rows *rows, uint32_t pairs, uint32_t in_step,
                                  uint32_t out_step)
{
    /* Up to eight whole vectors, it takes as many instructions in a loop that begins sooner. */
    const int is_looped = rows->count <= 8 * VECTOR && rows->count % VECTOR == 0;
    struct nrw_inputs run;

    rows->repeats = pairs;
    rows->in_step = in_step;
    rows->out_step = out_step;
    if (rows->count <= NRW_SHORT && rows->rounding != NRW_ANY) {
        nrw_convolve_short_2(rows);
    } else if (is_looped || rows->count > NRW_WHOLE || rows->rounding == NRW_ANY) {
        nrw_convolve_2(rows);
    } else {
        run.in[0] = rows->in0;
        run.in[1] = rows->in1;
        rows->runs = &run;
        rows->run_count = 1;
        nrw_convolve_whole_2(rows);
    }
}

/* The channels behind the last whole group, of `count` pixels. in: the first one's window; each
 * other stands `step` bytes behind the one before. No part of the caller, so that the sums take
 * stack only where they are needed. */
APART static void convolve_rest(struct pair *pair, const struct part *part, const int8_t *in,
                                uint32_t step, uint32_t count)
{
    const uint32_t whole = part->count - part->count % GROUP;

    for (uint32_t p = 0; p < count; p += PIXELS) {
        pair->pixels = count - p < PIXELS ? 1 : PIXELS;
        pair->in[0] = in + p * step;
        pair->in[1] = in + (p + 1) * step;
        convolve_single(pair, part->channels + whole, part->weights + whole * pair->depth,
                        part->count - whole, pair->out + p * pair->out_stride + whole);
    }
}

/* Pixels up to x1 whose windows are single pixels of the input, of which the first stands at `in`
 * and each `step` bytes behind the last. */
static void convolve_pixels(struct pair *pair, struct nrw_rows *rows, const struct part *part,
                            int32_t x1, const int8_t *in, uint32_t step)
{
    const uint32_t count = (uint32_t)(x1 - pair->x);
    const uint32_t pairs = count / PIXELS;

    if (part->count >= GROUP && pairs > 0) {
        nrw_begin_rows(rows, part, pair->out, pair->out_stride);
        rows->in0 = in;
        rows->in1 = in + step;
        convolve_pairs(rows, pairs, PIXELS * step, PIXELS * pair->out_stride);
    }
    if (part->count >= GROUP && count % PIXELS > 0) {
        nrw_begin_rows(rows, part, pair->out + PIXELS * pairs * pair->out_stride, 0);
        rows->in0 = in + PIXELS * pairs * step;
        convolve_row(rows);
    }
    if (has_rest(part)) {
        convolve_rest(pair, part, in, step, count);
    }
}

/* Copies the windows of one pixel or two from column x on, one behind another. */
static inline void copy_windows(const struct pair *pair, int32_t x, int8_t *to)
{
    const struct nrw_window *const window = pair->window;
    const int32_t column = x * window->stride_w - window->pad_left;
    const int32_t last = column + (int32_t)(pair->pixels - 1) * window->stride_w;
    const ptrdiff_t from = (column - window->origin) * (ptrdiff_t)window->pixel_stride;
    const uint32_t bytes = window->kernel_w * window->pixel_stride;

    if (!pair->is_dense || column < 0 || last + window->kernel_w > window->in_width) {
        for (uint32_t p = 0; p < pair->pixels; p++, to += pair->depth) {
            nrw_copy_window(window, pair->conv->in_channels, pair->conv->in_zero_point,
                            x + (int32_t)p, to);
        }
    } else if (pair->pixels == 1) {
        nrw_copy_rows(to, window, from, bytes);
    } else {
        nrw_copy_rows_of_two(to, to + pair->depth, window, from,
                             window->stride_w * window->pixel_stride, bytes);
    }
}

/* Pixels up to x1 whose windows are small enough to be copied: as many pairs at a time as there is
 * room for. */
static void convolve_copies(struct pair *pair, struct nrw_rows *rows, const struct part *part,
                            int32_t x1)
{
    const uint32_t most = WINDOW / pair->depth;
    int8_t *const copies = pair->room->copies;

    while (pair->x < x1) {
        const uint32_t left = (uint32_t)(x1 - pair->x) / PIXELS;
        const uint32_t pairs = left < most ? left : most;
        const uint32_t some = pairs > 0 ? PIXELS * pairs : 1;

        pair->pixels = pairs > 0 ? PIXELS : 1;
        for (uint32_t p = 0; p < some; p += pair->pixels) {
            copy_windows(pair, pair->x + (int32_t)p, copies + p * pair->depth);
        }
        if (part->count >= GROUP) {
            nrw_begin_rows(rows, part, pair->out, pair->out_stride);
            rows->in0 = copies;
            rows->in1 = copies + pair->depth;
            if (pairs > 0) {
                convolve_pairs(rows, pairs, PIXELS * pair->depth, PIXELS * pair->out_stride);
            } else {
                convolve_row(rows);
            }
        }
        if (has_rest(part)) {
            convolve_rest(pair, part, copies, pair->depth, some);
        }
        pair->x += (int32_t)some;
        pair->out += some * pair->out_stride;
    }
}

/* Pixels [pair->x, x1), whatever their windows. */
static void convolve_any(struct pair *pair, struct nrw_rows *rows, const struct part *part,
                         int32_t x1)
{
    rows->count = pair->depth;
    pair->is_dense = is_dense(pair->window, pair->conv->in_channels) && has_all_rows(pair->window);
    if (pair->depth <= WINDOW) {
        convolve_copies(pair, rows, part, x1);
        return;
    }
    while (pair->x < x1) {
        pair->pixels = x1 - pair->x < PIXELS ? 1 : PIXELS;
        if (part->count >= GROUP) {
            nrw_begin_rows(rows, part, pair->out, pair->out_stride);
            convolve_windows(pair, rows, part->weights, part->count - part->count % GROUP);
        }
        if (has_rest(part)) {
            convolve_rest(pair, part, NULL, 0, pair->pixels);
        }
        pair->x += (int32_t)pair->pixels;
        pair->out += pair->pixels * pair->out_stride;
    }
}

/* The first of the pixels [x0, x1), if each of their windows is a pixel of the input; else NULL. */
static inline const int8_t *single_pixels(const struct nrw_window *window, int32_t x0, int32_t x1)
{
    const int32_t column = x0 * window->stride_w - window->pad_left;
    const int32_t last = (x1 - 1) * window->stride_w - window->pad_left;

    return window->kernel_h == 1 && window->kernel_w == 1 && window->rows[0] && column >= 0 &&
                   last < window->in_width
               ? nrw_pixel(window, window->rows[0], column)
               : NULL;
}

void nrw_conv_mve(const struct nrw_conv_op *conv, const struct nrw_window *window, int32_t x0,
                  int32_t x1, uint32_t first_output, uint32_t count, int8_t *out,
                  uint32_t out_stride, void *scratch)
{
    const uint32_t depth = (uint32_t)window->kernel_h * window->kernel_w * conv->in_channels;
    const struct part part = {conv->channels + first_output,
                              conv->weights + first_output * depth, count};
    const int8_t *const in = single_pixels(window, x0, x1);
    union room room;
    struct pair pair = {conv, window, {NULL, NULL}, x0, PIXELS, depth, out, out_stride, &room, 0};
    struct nrw_rows rows;

    (void)scratch;
    nrw_rows_to(&rows, conv_outputs(conv, part.channels, count));
    rows.stride = depth;
    rows.count = depth;
    if (in) {
        convolve_pixels(&pair, &rows, &part, x1, in, window->stride_w * window->pixel_stride);
        return;
    }
    if (has_vectors(window, &rows, &part, conv->in_channels)) {
        nrw_convolve_vectors(&pair, &rows, &part, x1);
    } else {
        convolve_any(&pair, &rows, &part, x1);
    }
}

/* The last one to three output channels of nrw_conv_accumulate_mve, as convolve_single has them.
 * all: of those before. */
APART static void accumulate_single(const struct nrw_products *all, uint32_t channels,
                                    uint32_t pixels)
{
    const uint32_t whole = all->groups * GROUP;
    int32_t sums[PIXELS][GROUP * GROUP] = {{0}};
    struct nrw_products products = {{sums[0], sums[1]}, all->weights + whole * all->stride,
                                    0, all->stride, channels, all->runs, all->count};

    dot(&products, pixels);
    for (uint32_t p = 0; p < pixels; p++) {
        int32_t *const to = all->sums[p] + whole;

        for (uint32_t k = 0; k < channels; k++) {
            to[k] = nrw_wrapping_add(to[k], sums[p][k * GROUP]);
        }
    }
}

void nrw_conv_accumulate_mve(const struct nrw_conv_op *conv, uint32_t first_input, uint32_t count,
                             const int8_t *in, uint32_t in_stride, uint32_t pixels, int32_t *sums)
{
    const uint32_t depth = conv->in_channels;
    const uint32_t single = conv->out_channels % GROUP;
    const int8_t *const weights = conv->weights + first_input;
    uint32_t some;

    for (; pixels > 0; pixels -= some, in += some * in_stride, sums += some * conv->out_channels) {
        const struct nrw_inputs run[] = {{{in, in + in_stride}}, {{NULL, NULL}}};
        struct nrw_products products = {{sums, sums + conv->out_channels}, weights, depth,
                                        GROUP * depth, conv->out_channels / GROUP, run, count};

        some = pixels < PIXELS ? 1 : PIXELS;
        if (single > 0) {
            accumulate_single(&products, single, some);
        }
        if (products.groups > 0) {
            dot(&products, some);
        }
    }
}

void nrw_conv_finish_mve(const struct nrw_conv_op *conv, const int32_t *sums, uint32_t pixels,
                         int8_t *out, uint32_t out_stride)
{
    const uint32_t whole = conv->out_channels - conv->out_channels % GROUP;
    struct nrw_rows rows;

    nrw_rows_to(&rows, conv_outputs(conv, conv->channels, conv->out_channels));
    for (; pixels > 0; pixels--, out += out_stride, sums += conv->out_channels) {
        rows.channels = conv->channels;
        rows.out[0] = out;
        rows.groups = whole / GROUP;
        if (whole > 0) {
            nrw_finish_1(sums, sums, &rows);
        }
        nrw_finish_channels(conv->channels + whole, (const uint32_t *)sums + whole,
                            conv->out_channels - whole, conv->out_zero_point, conv->act_min,
                            conv->act_max, out + whole);
    }
}
