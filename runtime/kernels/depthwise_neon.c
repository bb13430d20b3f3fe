/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Eight channels of some pixels at a time. What is left at the end of the channels is computed
 * together with those before, again. Depth multipliers, large windows and fewer channels than that
 * are left to the portable kernels.
 */
#include "depthwise_places.h"
#include "neon.h"

/* Whether this file's kernels are made for that. */
static int suits(const struct nrw_depthwise_op *op, const struct nrw_window *window,
                 uint32_t count)
{
    return op->depth_multiplier == 1 && count >= NRW_LANES &&
           (uint32_t)window->kernel_h * window->kernel_w < NRW_MOST_TAPS;
}

/* The weights of eight channels, of some taps. */
NRW_NEON_INLINE void load_weights(int16x8_t *to, const int8_t *weights, uint32_t stride,
                                  uint32_t taps)
{
    for (; taps > 0; taps--, weights += stride) {
        *to++ = vmovl_s8(vld1_s8(weights));
    }
}

/* Adds the products of channels c to c + 7 of a pixel. padding: NULL if there is none. */
NRW_NEON_INLINE struct nrw_lanes_neon add_taps(struct nrw_lanes_neon sums,
                                               const int16x8_t *weights, const int8_t *const *taps,
                                               uint32_t count, uint32_t c, const int8_t *padding)
{
    for (uint32_t t = 0; t < count; t++) {
        const int16x8_t x = vmovl_s8(vld1_s8(padding && !taps[t] ? padding : taps[t] + c));

        sums.low = vmlal_s16(sums.low, vget_low_s16(x), vget_low_s16(weights[t]));
        sums.high = vmlal_high_s16(sums.high, x, weights[t]);
    }
    return sums;
}

NRW_NEON_INLINE struct nrw_lanes_neon add_window(struct nrw_lanes_neon sums,
                                                 const int16x8_t *weights,
                                                 const struct nrw_places *places, uint32_t pixel,
                                                 uint32_t count, uint32_t c,
                                                 const int8_t *padding)
{
    const int8_t *const *const taps = places->taps[pixel];

    if (places->padded) {
        return add_taps(sums, weights, taps, count, c, padding);
    }
    /* Without a loop for the usual 3x3 kernel. */
    return count == 9 ? add_taps(sums, weights, taps, 9, c, NULL)
                      : add_taps(sums, weights, taps, count, c, NULL);
}

NRW_NEON_INLINE struct nrw_lanes_neon no_sums(void)
{
    const struct nrw_lanes_neon none = {vdupq_n_s32(0), vdupq_n_s32(0)};

    return none;
}

static void filter_eight(const struct nrw_eights *eights, uint32_t c)
{
    const struct nrw_depthwise_op *const op = eights->op;
    const uint32_t taps = (uint32_t)eights->window->kernel_h * eights->window->kernel_w;
    const struct nrw_channels_neon channels =
        nrw_channels_of_neon(op->channels + eights->first_channel + c);
    const struct nrw_range_neon range =
        nrw_range_of_neon(op->out_zero_point, op->act_min, op->act_max);
    int16x8_t weights[NRW_MOST_TAPS];

    load_weights(weights, op->weights + eights->first_channel + c, op->out_channels, taps);
    for (uint32_t p = 0; p < eights->pixels; p++) {
        const struct nrw_lanes_neon sums =
            add_window(no_sums(), weights, &eights->places, p, taps, c, eights->padding);

        nrw_finish_neon(nrw_eights_out(eights, p, c), sums, &channels, &range);
    }
}

static void filter(struct nrw_eights *eights)
{
    nrw_compute_eights(eights, filter_eight);
}

void nrw_depthwise_neon(const struct nrw_depthwise_op *op, const struct nrw_window *window,
                        int32_t x0, int32_t x1, uint32_t first_channel, uint32_t count, int8_t *out,
                        uint32_t out_stride, void *scratch)
{
    if (suits(op, window, count)) {
        struct nrw_eights eights = {.op = op, .window = window, .x0 = x0, .x1 = x1,
                                    .first_channel = first_channel, .count = count, .out = out,
                                    .out_stride = out_stride};

        filter(&eights);
    } else {
        nrw_depthwise_c(op, window, x0, x1, first_channel, count, out, out_stride, scratch);
    }
}

/* --- By rows ------------------------------------------------------------------------------ */

/* Bits 16 and 17 of four sums, each at its place in a byte of nrw_folded. */
NRW_NEON_INLINE uint8_t high_bits(int32x4_t sums)
{
    static const int32_t places[4] = {0, 2, 4, 6};
    const uint32x4_t bits =
        vandq_u32(vshrq_n_u32(vreinterpretq_u32_s32(sums), 16), vdupq_n_u32(3));

    return (uint8_t)vaddvq_u32(vshlq_u32(bits, vld1q_s32(places)));
}

/* Eight sums of nrw_folded, whose bits 16 and 17 take two bytes. */
NRW_NEON_INLINE void store_sums(struct nrw_lanes_neon sums, int8_t *low, uint32_t channels,
                                uint8_t *highs)
{
    const int16x8_t halves = vcombine_s16(vmovn_s32(sums.low), vmovn_s32(sums.high));

    vst1_s8(low, vmovn_s16(halves));
    vst1_s8(low + channels, vshrn_n_s16(halves, 8));
    highs[0] = high_bits(sums.low);
    highs[1] = high_bits(sums.high);
}

/* Four sums of their lower 16 bits and a byte of high_bits. */
NRW_NEON_INLINE int32x4_t whole_sums(uint16x4_t low, uint8_t high)
{
    static const int32_t places[4] = {14, 12, 10, 8};
    /* The two bits of each at the top of 16, the second of which is the sign. */
    const uint32x4_t bits = vshlq_u32(vdupq_n_u32(high), vld1q_s32(places));
    const int32x4_t signs = vshrq_n_s32(vreinterpretq_s32_u32(vshlq_n_u32(bits, 16)), 14);

    return vorrq_s32(vandq_s32(signs, vdupq_n_s32(~0xFFFF)),
                     vreinterpretq_s32_u32(vmovl_u16(low)));
}

NRW_NEON_INLINE struct nrw_lanes_neon load_sums(const int8_t *low, uint32_t channels,
                                                const uint8_t *highs)
{
    const uint16x8_t halves =
        vorrq_u16(vmovl_u8(vreinterpret_u8_s8(vld1_s8(low))),
                  vshll_n_u8(vreinterpret_u8_s8(vld1_s8(low + channels)), 8));
    const struct nrw_lanes_neon sums = {whole_sums(vget_low_u16(halves), highs[0]),
                                        whole_sums(vget_high_u16(halves), highs[1])};

    return sums;
}

/* Whether eight channels never share their bytes in nrw_folded with others. */
static int folds_by_lanes(const struct nrw_depthwise_op *op, const struct nrw_window *window)
{
    return suits(op, window, op->out_channels) && op->out_channels % NRW_LANES == 0;
}

static void fold_eight(const struct nrw_eights *eights, uint32_t c)
{
    const uint32_t channels = eights->op->out_channels;
    const uint32_t taps = (uint32_t)eights->window->kernel_h * eights->window->kernel_w;
    int16x8_t weights[NRW_MOST_TAPS];

    load_weights(weights, eights->op->weights + c, channels, taps);
    for (uint32_t p = 0; p < eights->pixels; p++) {
        const struct nrw_lanes_neon sums =
            add_window(no_sums(), weights, &eights->places, p, taps, c, eights->padding);

        store_sums(sums, nrw_eights_row(eights, p, c), channels, nrw_eights_highs(eights, p, c));
    }
}

static void fold(struct nrw_eights *eights)
{
    nrw_compute_eights(eights, fold_eight);
}

static void unfold_eight(const struct nrw_eights *eights, uint32_t c)
{
    const struct nrw_depthwise_op *const op = eights->op;
    const uint32_t channels = op->out_channels;
    const uint32_t taps = eights->window->kernel_w;
    const struct nrw_channels_neon lanes = nrw_channels_of_neon(op->channels + c);
    const struct nrw_range_neon range =
        nrw_range_of_neon(op->out_zero_point, op->act_min, op->act_max);
    int16x8_t weights[NRW_MOST_TAPS];

    load_weights(weights, op->weights + (size_t)2 * taps * channels + c, channels, taps);
    for (uint32_t p = 0; p < eights->pixels; p++) {
        const struct nrw_lanes_neon folded =
            load_sums(nrw_eights_row(eights, p, c), channels, nrw_eights_highs(eights, p, c));
        const struct nrw_lanes_neon sums =
            add_window(folded, weights, &eights->places, p, taps, c, eights->padding);

        nrw_finish_neon(nrw_eights_out(eights, p, c), sums, &lanes, &range);
    }
}

static void unfold(struct nrw_eights *eights)
{
    nrw_compute_eights(eights, unfold_eight);
}

void nrw_depthwise_fold_neon(const struct nrw_depthwise_op *op, const struct nrw_window *window,
                             int32_t x0, int32_t x1, const struct nrw_folded *folded)
{
    if (folds_by_lanes(op, window)) {
        struct nrw_eights eights = {.op = op, .window = window, .x0 = x0, .x1 = x1,
                                    .count = op->out_channels, .folded = folded};

        fold(&eights);
    } else {
        nrw_depthwise_fold_c(op, window, x0, x1, folded);
    }
}

void nrw_depthwise_unfold_neon(const struct nrw_depthwise_op *op, const struct nrw_window *window,
                               int32_t x0, int32_t x1, const struct nrw_folded *folded, int8_t *out,
                               uint32_t out_stride)
{
    if (folds_by_lanes(op, window)) {
        struct nrw_eights eights = {.op = op, .window = window, .x0 = x0, .x1 = x1,
                                    .count = op->out_channels, .folded = folded, .out = out,
                                    .out_stride = out_stride};

        unfold(&eights);
    } else {
        nrw_depthwise_unfold_c(op, window, x0, x1, folded, out, out_stride);
    }
}
