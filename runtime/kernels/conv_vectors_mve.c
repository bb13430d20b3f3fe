/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolution with Helium where the taps of windows are whole vectors: products without loops
 * (whole_mve.c).
 */
#include "conv_mve.h"
#include "copy_mve.h"

void nrw_begin_rows(struct nrw_rows *rows, const struct part *part, int8_t *out,
                    uint32_t out_stride)
{
    rows->channels = part->channels;
    rows->out[0] = out;
    rows->out[1] = out + out_stride;
    rows->weights = part->weights;
    rows->groups = part->count / GROUP;
}

/* The runs of pixel pair->x, of its rows and their padding, and of nothing else. */
static void list_one(const struct pair *pair, struct nrw_rows *rows)
{
    const struct nrw_window *const window = pair->window;
    const struct nrw_taps taps = nrw_taps_inside(window, pair->x);
    const uint32_t channels = window->pixel_stride;
    const uint32_t before = (uint32_t)taps.first * channels;
    const uint32_t inside = (uint32_t)(taps.end - taps.first) * channels;
    const uint32_t after = rows->count - before - inside;
    const ptrdiff_t from = (taps.column - window->origin) * (ptrdiff_t)channels;
    int8_t *const padding = pair->room->whole.padding;
    struct nrw_single_run *run = pair->room->whole.list.singles;
    int is_padded = inside < rows->count;

    for (uint32_t i = 0; i < window->kernel_h; i++) {
        const int8_t *const row = window->rows[i];

        if (!row || inside == 0) {
            *run++ = (struct nrw_single_run){padding, rows->count};
            is_padded = 1;
            continue;
        }
        if (before > 0) {
            *run++ = (struct nrw_single_run){padding, before};
        }
        *run++ = (struct nrw_single_run){row + from, inside};
        if (after > 0) {
            *run++ = (struct nrw_single_run){padding, after};
        }
    }
    rows->run_count = (uint32_t)(run - pair->room->whole.list.singles);
    if (is_padded) {
        (void)nrw_fill(padding, pair->conv->in_zero_point, rows->count);
    }
}

/* The runs of pixel pair->x and the one right of it, which have no padding left or right. Returns
 * whether any row is padding. */
static int list_two(const struct pair *pair, struct nrw_rows *rows, uint32_t step)
{
    const struct nrw_window *const window = pair->window;
    const int32_t column = pair->x * window->stride_w - window->pad_left - window->origin;
    const int32_t from = column * (int32_t)window->pixel_stride;
    int8_t *const padding = pair->room->whole.padding;
    struct nrw_inputs *run = pair->room->whole.list.pairs;
    int is_padded = 0;

    for (uint32_t i = 0; i < window->kernel_h; i++, run++) {
        const int8_t *const row = window->rows[i];

        run->in[0] = row ? row + from : padding;
        run->in[1] = row ? row + from + step : padding;
        is_padded |= !row;
    }
    rows->run_count = window->kernel_h;
    if (is_padded) {
        (void)nrw_fill(padding, pair->conv->in_zero_point, rows->count);
    }
    return is_padded;
}

void nrw_convolve_vectors(struct pair *pair, struct nrw_rows *rows, const struct part *part,
                          int32_t x1)
{
    const struct nrw_window *const window = pair->window;
    const int32_t stride = window->stride_w;
    const uint32_t step = window->stride_w * window->pixel_stride;
    int32_t end = x1; /* of the windows without padding on the right */

    while (end > pair->x &&
           (end - 1) * stride - window->pad_left + window->kernel_w > window->in_width) {
        end--;
    }
    rows->count = window->kernel_w * window->pixel_stride;
    rows->runs = &pair->room->whole.list;
    rows->in_step = PIXELS * step;
    rows->out_step = PIXELS * pair->out_stride;
    while (pair->x < x1) {
        uint32_t some = 1;

        nrw_begin_rows(rows, part, pair->out, pair->out_stride);
        if (pair->x + 1 < end && pair->x * stride >= window->pad_left) {
            /* Padding does not move on from pair to pair. */
            const uint32_t pairs = (uint32_t)(end - pair->x) / PIXELS;

            rows->repeats = list_two(pair, rows, step) ? 1 : pairs;
            some = rows->repeats * PIXELS;
            nrw_convolve_whole_2(rows);
        } else {
            list_one(pair, rows);
            nrw_convolve_whole_1(rows);
        }
        pair->x += (int32_t)some;
        pair->out += some * pair->out_stride;
    }
}
