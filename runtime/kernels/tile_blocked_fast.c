/* SPDX-License-Identifier: Apache-2.0 */
#include "tile_blocked_fast.h"

#include "thumb2.h"

#if !NRW_THUMB2
#include "requant_fast.h"

enum { HALF = NRW_TILE_SUMS / 2, BLOCK_BYTES = NRW_LAYOUT_BLOCK * NRW_LAYOUT_BLOCK };

/* Four sums of each half. Without a structure compilers keep them in registers. */
#define LOAD_SUMS                                                             \
    int32_t a0 = sums[0], a1 = sums[1], a2 = sums[2], a3 = sums[3];           \
    int32_t b0 = sums[HALF], b1 = sums[HALF + 1];                             \
    int32_t b2 = sums[HALF + 2], b3 = sums[HALF + 3]

#define STORE_SUMS                                          \
    sums[0] = a0, sums[1] = a1, sums[2] = a2, sums[3] = a3; \
    sums[HALF] = b0, sums[HALF + 1] = b1;                   \
    sums[HALF + 2] = b2, sums[HALF + 3] = b3

/* An element of each half, with its weights. */
#define ADD_ELEMENT(w, v, x, y)                     \
    do {                                            \
        const int32_t one = *(x);                   \
        const int32_t other = *(y);                 \
                                                    \
        a0 += (w)[0] * one;                         \
        b0 += (v)[0] * other;                       \
        a1 += (w)[NRW_LAYOUT_BLOCK] * one;          \
        b1 += (v)[NRW_LAYOUT_BLOCK] * other;        \
        a2 += (w)[2 * NRW_LAYOUT_BLOCK] * one;      \
        b2 += (v)[2 * NRW_LAYOUT_BLOCK] * other;    \
        a3 += (w)[3 * NRW_LAYOUT_BLOCK] * one;      \
        b3 += (v)[3 * NRW_LAYOUT_BLOCK] * other;    \
    } while (0)

/* Adds the products of a stretch's blocks. Halves are two pixels with the same weights, or two
 * blocks of output channels of the same pixel. */
static void add_blocks(int32_t *sums, const int8_t *w, const int8_t *v, const int8_t *x,
                       const int8_t *y, uint32_t weight_bytes)
{
    LOAD_SUMS;

    for (const int8_t *const end = w + weight_bytes; w != end;
         w += BLOCK_BYTES, v += BLOCK_BYTES, x += NRW_LAYOUT_BLOCK, y += NRW_LAYOUT_BLOCK) {
        ADD_ELEMENT(w, v, x, y);
        ADD_ELEMENT(w + 1, v + 1, x + 1, y + 1);
        ADD_ELEMENT(w + 2, v + 2, x + 2, y + 2);
        ADD_ELEMENT(w + 3, v + 3, x + 3, y + 3);
    }
    STORE_SUMS;
}

static void add_singly(int32_t *sums, const int8_t *w, const int8_t *v, const int8_t *x,
                       const int8_t *y, uint32_t weight_bytes, uint32_t step)
{
    LOAD_SUMS;

    for (const int8_t *const end = w + weight_bytes; w != end; w += step, v += step, x++, y++) {
        ADD_ELEMENT(w, v, x, y);
    }
    STORE_SUMS;
}

/* Adds all stretches. second_half: where `tiles` has it, 0 for two pixels. */
static void add_windows(int32_t *sums, struct nrw_tiles *tiles, uint32_t second_half,
                        uint32_t second_pixel)
{
    const int8_t *w = tiles->weights;

    for (const struct nrw_stretch *stretch = tiles->begin; stretch < tiles->behind; stretch++) {
        const int8_t *const x = stretch->in[0], *const y = stretch->in[second_pixel];
        const uint32_t bytes = stretch->weight_bytes;

        if (stretch->kind < NRW_STRETCH_ONE || stretch->kind == NRW_STRETCH_THREES) {
            add_blocks(sums, w, w + second_half, x, y, bytes);
            w += bytes;
        } else if (stretch->kind == NRW_STRETCH_SPARSE) {
            add_singly(sums, w, w + second_half, x, y, bytes, BLOCK_BYTES);
            w += bytes;
        } else {
            add_singly(sums, w, w + second_half, x, y, bytes, 1);
            w += BLOCK_BYTES;
        }
    }
    tiles->weights = w + second_half;
}

/* Whether all channels of a group have a prescale. */
static int are_prescaled(const struct nrw_channel *channels, uint32_t count)
{
    for (uint32_t o = 0; o < count; o++) {
        if (channels[o].prescale <= 0) {
            return 0;
        }
    }
    return 1;
}

/* Leaves the group's sums with their bias. */
static void leave(struct nrw_tiles *tiles, const int32_t *sums, uint32_t channels)
{
    for (uint32_t k = 0; k < NRW_TILE_SUMS; k++) {
        tiles->last[k] = nrw_wrapping_add(sums[k], tiles->channels[k % channels].bias);
    }
    tiles->finished = 0;
}

void nrw_tiles_of_two(struct nrw_tiles *tiles)
{
    for (; tiles->channels < tiles->end; tiles->channels += HALF) {
        int32_t sums[NRW_TILE_SUMS] = {0};

        add_windows(sums, tiles, 0, 1);
        if (!are_prescaled(tiles->channels, HALF)) {
            leave(tiles, sums, HALF);
            return;
        }
        for (uint32_t o = 0; o < HALF; o++) {
            const struct nrw_prescaled channel =
                nrw_prescaled_of(&tiles->channels[o], tiles->rounding);

            *tiles->out[0]++ = nrw_finish_prescaled(&channel, (uint32_t)sums[o]);
            *tiles->out[1]++ = nrw_finish_prescaled(&channel, (uint32_t)sums[HALF + o]);
        }
    }
    tiles->finished = NRW_TILE_SUMS;
}

void nrw_tiles_of_one(struct nrw_tiles *tiles)
{
    for (; tiles->channels < tiles->end; tiles->channels += NRW_TILE_SUMS) {
        int32_t sums[NRW_TILE_SUMS] = {0};

        add_windows(sums, tiles, tiles->second_half, 0);
        if (!are_prescaled(tiles->channels, NRW_TILE_SUMS)) {
            leave(tiles, sums, NRW_TILE_SUMS);
            return;
        }
        for (uint32_t o = 0; o < NRW_TILE_SUMS; o++) {
            const struct nrw_prescaled channel =
                nrw_prescaled_of(&tiles->channels[o], tiles->rounding);

            *tiles->out[0]++ = nrw_finish_prescaled(&channel, (uint32_t)sums[o]);
        }
    }
    tiles->finished = NRW_TILE_SUMS;
}

#endif
