/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The folded form, whose sums of 18 bits stand apart as depthwise.h says. Channels that are not a
 * multiple of 4 are left to the portable kernels.
 */
#include "depthwise_dsp.h"
#include "dsp.h"

/* Adds the products of all taps to the sums of channels c to c + 3 of the table's. r7 is the
 * compiler's frame pointer if it has one, so it is not told that r7 changes. */
static void add_taps(const struct nrw_taps_read *taps, uint32_t c, int32_t sums[4])
{
    register const struct nrw_taps_read *r0 __asm__("r0") = taps;
    register int32_t *r3 __asm__("r3") = sums;
    register uint32_t r12 __asm__("r12") = c;

    __asm__ volatile("push {r3, r7}\n\t"
                     "ldm r3, {r4, r5, r6, r7}\n\t"
                     "ldm r0, {r8, r9, r10, r11}\n\t"
                     "add r10, r10, r12\n\t"
                     NRW_ALL_TAPS
                     "ldr r3, [sp]\n\t"
                     "stm r3, {r4, r5, r6, r7}\n\t"
                     "pop {r3, r7}"
                     : "+r"(r3)
                     : "r"(r0), "r"(r12)
                     : "r1", "r2", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "lr", "cc",
                       "memory");
}

static uint32_t join_bytes(uint32_t even, uint32_t odd)
{
    return even | odd << 8;
}

static void store_sums(const int32_t sums[4], int8_t *low, uint32_t channels, uint8_t *highs)
{
    const uint32_t even = nrw_lower_halves((uint32_t)sums[0], (uint32_t)sums[2]);
    const uint32_t odd = nrw_lower_halves((uint32_t)sums[1], (uint32_t)sums[3]);
    uint32_t bits = (uint32_t)sums[3] >> 16 & 3u;

    nrw_store_word(low, join_bytes(nrw_even_unsigned(even), nrw_even_unsigned(odd)));
    nrw_store_word(low + channels, join_bytes(nrw_odd_unsigned(even), nrw_odd_unsigned(odd)));
    bits = bits << 2 | ((uint32_t)sums[2] >> 16 & 3u);
    bits = bits << 2 | ((uint32_t)sums[1] >> 16 & 3u);
    bits = bits << 2 | ((uint32_t)sums[0] >> 16 & 3u);
    *highs = (uint8_t)bits;
}

/* Bits 16 and 17, of which the second is the sign, above the lower half of `low`. */
static inline int32_t join_sum(uint32_t low, uint32_t bits)
{
    return (int32_t)nrw_lower_halves(low, (uint32_t)((int32_t)(bits << 30) >> 30));
}

static void load_sums(int32_t sums[4], const int8_t *low, uint32_t channels, uint32_t bits,
                      const struct nrw_channel *channel)
{
    const uint32_t word = nrw_load_word(low);
    const uint32_t middle = nrw_load_word(low + channels);
    const uint32_t even = join_bytes(nrw_even_unsigned(word), nrw_even_unsigned(middle));
    const uint32_t odd = join_bytes(nrw_odd_unsigned(word), nrw_odd_unsigned(middle));

    sums[0] = nrw_wrapping_add(join_sum(even, bits), channel[0].bias);
    sums[1] = nrw_wrapping_add(join_sum(odd, bits >> 2), channel[1].bias);
    sums[2] = nrw_wrapping_add(join_sum(even >> 16, bits >> 4), channel[2].bias);
    sums[3] = nrw_wrapping_add(join_sum(odd >> 16, bits >> 6), channel[3].bias);
}

void nrw_depthwise_fold_dsp(const struct nrw_depthwise_op *op, const struct nrw_window *window,
                            int32_t x0, int32_t x1, const struct nrw_folded *folded)
{
    const uint32_t channels = op->out_channels;
    const int8_t *taps[6];
    struct nrw_tap_table table;

    if (channels % 4 != 0) {
        nrw_depthwise_fold_c(op, window, x0, x1, folded);
        return;
    }
    nrw_start_table(&table, taps, channels, op->in_zero_point, window);
    for (int32_t x = x0; x < x1; x++) {
        int8_t *const low = folded->row + 2u * (uint32_t)x * channels;
        uint8_t *const highs = folded->highs + (uint32_t)x * (channels / 4);
        uint32_t served;

        for (uint32_t from = 0; from < channels; from += served) {
            served = nrw_fill_table(&table, window, x, from, channels - from, op->weights + from);
            for (uint32_t c = 0; c < served; c += 4) {
                int32_t sums[4] = {0, 0, 0, 0};

                add_taps(&table.read, c, sums);
                store_sums(sums, low + from + c, channels, highs + (from + c) / 4);
            }
        }
    }
}

void nrw_depthwise_unfold_dsp(const struct nrw_depthwise_op *op, const struct nrw_window *window,
                              int32_t x0, int32_t x1, const struct nrw_folded *folded, int8_t *out,
                              uint32_t out_stride)
{
    const uint32_t channels = op->out_channels;
    const int8_t *const weights = op->weights + 6 * channels;
    int8_t *pixel_out = out;
    const int8_t *taps[3];
    struct nrw_tap_table table;

    if (channels % 4 != 0) {
        nrw_depthwise_unfold_c(op, window, x0, x1, folded, out, out_stride);
        return;
    }
    nrw_start_table(&table, taps, channels, op->in_zero_point, window);
    for (int32_t x = x0; x < x1; x++, pixel_out += out_stride) {
        const int8_t *const low = folded->row + 2u * (uint32_t)x * channels;
        const uint8_t *const highs = folded->highs + (uint32_t)x * (channels / 4);
        uint32_t served;

        for (uint32_t from = 0; from < channels; from += served) {
            served = nrw_fill_table(&table, window, x, from, channels - from, weights + from);
            for (uint32_t c = 0; c < served; c += 4) {
                const struct nrw_channel *const four = op->channels + from + c;
                int32_t sums[4];

                load_sums(sums, low + from + c, channels, highs[(from + c) / 4], four);
                add_taps(&table.read, c, sums);
                nrw_finish_four(pixel_out + from + c, sums, four, op->out_zero_point);
            }
        }
    }
    nrw_clamp_pixels(op->act_min, op->act_max, x1 - x0, channels, out, out_stride);
}
