/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a host's depthwise convolutions read: where the taps of some pixels are.
 */
#ifndef NARROWS_DEPTHWISE_PLACES_H
#define NARROWS_DEPTHWISE_PLACES_H

#include "depthwise.h"
#include "lanes.h"

enum {
    NRW_MOST_TAPS = 50, /* 7x7 and one for a pair */
    NRW_PLACES = 4, /* pixels */
};

/* Where the taps of some pixels are, for the first channel; NULL is padding. */
struct nrw_places {
    uint32_t pairs; /* of taps; a single one at the end has a twin whose weight is 0 */
    int padded;     /* whether there is any padding */
    const int8_t *taps[NRW_PLACES][NRW_MOST_TAPS];
};

/* For pixels [x0, x1), at most NRW_PLACES. */
static inline void nrw_find_places(struct nrw_places *places, const struct nrw_window *window,
                                   int32_t x0, int32_t x1)
{
    const size_t step = window->dilation_w * (size_t)window->pixel_stride;

    places->pairs = ((uint32_t)window->kernel_h * window->kernel_w + 1) / 2;
    places->padded = 0;
    for (int32_t x = x0; x < x1; x++) {
        const struct nrw_taps inside = nrw_taps_inside(window, x);
        const int8_t **taps = places->taps[x - x0];

        for (uint32_t i = 0; i < window->kernel_h; i++) {
            const int8_t *const row = window->rows[i];
            const int8_t *pixel = row ? nrw_pixel(window, row, inside.column) : NULL;

            for (int32_t j = 0; j < window->kernel_w; j++) {
                const int is_inside = row && j >= inside.first && j < inside.end;

                *taps++ = is_inside ? pixel : NULL;
                pixel += is_inside ? step : 0;
                places->padded |= !is_inside;
            }
        }
        taps[0] = taps[-1];
    }
}

/* What a kernel with vectors is called for, and what it computes of that at a time. */
struct nrw_eights {
    const struct nrw_depthwise_op *op;
    const struct nrw_window *window;
    int32_t x0, x1;
    uint32_t first_channel, count; /* 8 or more */
    const struct nrw_folded *folded; /* NULL unless the kernel goes by rows */
    int8_t *out;                     /* NULL if it only folds */
    uint32_t out_stride;

    int8_t padding[NRW_LANES]; /* in the place of eight channels of a tap that is padding */
    struct nrw_places places;
    int32_t x;                 /* the first of these pixels, */
    uint32_t pixels;           /* and how many they are */
};

/* Channels c to c + 7, counted from first_channel on, of these pixels. */
typedef void nrw_compute_eight(const struct nrw_eights *eights, uint32_t c);

/* All of them; the last eight channels overlap with those before. */
static inline __attribute__((always_inline)) void nrw_compute_eights(struct nrw_eights *eights,
                                                                     nrw_compute_eight *compute)
{
    for (uint32_t k = 0; k < NRW_LANES; k++) {
        eights->padding[k] = (int8_t)eights->op->in_zero_point;
    }
    for (int32_t end, x = eights->x0; x < eights->x1; x = end) {
        end = eights->x1 - x < NRW_PLACES ? eights->x1 : x + NRW_PLACES;
        nrw_find_places(&eights->places, eights->window, x, end);
        eights->x = x;
        eights->pixels = (uint32_t)(end - x);
        for (uint32_t done = 0; done < eights->count; done += NRW_LANES) {
            compute(eights, nrw_lanes_at(done, eights->count));
        }
    }
}

/* Where channel c of pixel number p of these goes. */
static inline int8_t *nrw_eights_out(const struct nrw_eights *eights, uint32_t p, uint32_t c)
{
    return eights->out + ((size_t)(eights->x - eights->x0) + p) * eights->out_stride + c;
}

/* The same in what is folded: the lower bytes of the sums, and their bits 16 and 17. */
static inline int8_t *nrw_eights_row(const struct nrw_eights *eights, uint32_t p, uint32_t c)
{
    const size_t pixel = (size_t)(uint32_t)eights->x + p;

    return eights->folded->row + 2 * pixel * eights->op->out_channels + c;
}

static inline uint8_t *nrw_eights_highs(const struct nrw_eights *eights, uint32_t p, uint32_t c)
{
    const size_t pixel = (size_t)(uint32_t)eights->x + p;

    return eights->folded->highs + pixel * (eights->op->out_channels / 4) + c / 4;
}

#endif
