/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Depthwise convolution with Helium, 16 channels at a time.
 */
#include <arm_mve.h>
#include <string.h>

#include "depthwise.h"
#include "taps_mve.h"

enum {
    CHANNELS = 16,
    GROUP = 4,       /* channels of a vector of sums */
    MOST_TAPS = 49,  /* of a window; that of a larger one is left to portable C */
    FEW_TAPS = 25,   /* of most windows */
    PAIRED_TAPS = 9, /* of one that is computed for two pixels of 8 channels at a time */
    FOLDED_TAPS = 6
};

/* What takes stack only where it is needed is no part of its caller. */
#define APART __attribute__((noinline))
#define INLINE inline __attribute__((always_inline))

/* The taps of a pixel, of the channels that come next. There is room for one more in the list. */
struct taps {
    struct nrw_tap *list;
    int8_t (*twice)[CHANNELS]; /* PAIRED_TAPS weights of pairs of pixels; NULL: there are none */
    struct nrw_taps columns;   /* which of each row are inside */
    uint32_t inside, padding;
};

/* A sum shifted by 0 may be as large as any, and the zero point is added last: so it is not one of
 * those that are shifted to the right. */
static inline struct nrw_outputs outputs_of(const struct nrw_depthwise_op *op,
                                            const struct nrw_channel *channels, uint32_t count)
{
    const struct nrw_outputs outputs = {channels, count, op->out_zero_point, op->act_min,
                                        op->act_max, op->most_shift, GROUP, -1};

    return outputs;
}

/* step: from the weights of a tap to those of the next. */
static void list_taps(struct taps *taps, const struct nrw_window *window, const int8_t *weights,
                      uint32_t step)
{
    const struct nrw_taps columns = taps->columns;
    const uint32_t count = (uint32_t)window->kernel_h * window->kernel_w;
    const struct nrw_tap_rows rows = {
        taps->list,
        taps->list + count,
        window->rows,
        window->kernel_h,
        weights,
        (columns.column - window->origin) * (ptrdiff_t)window->pixel_stride,
        (uint32_t)columns.first,
        (uint32_t)(columns.end - columns.first),
        (uint32_t)(window->kernel_w - columns.end),
        window->dilation_w * window->pixel_stride,
        step,
    };

    taps->inside = (uint32_t)(nrw_list_taps(&rows) - taps->list);
    taps->padding = count - taps->inside;
}

/* From where a pixel has left the taps to its right neighbour's, if the same are inside. */
static inline void move_taps(struct taps *taps, uint32_t bytes, uint32_t channels)
{
    uint32_t *const pointers = (uint32_t *)(void *)taps->list;
    const uint32_t weights = 0u - (channels + CHANNELS - 1u) / CHANNELS * CHANNELS;
    const uint32_t in = bytes + weights;
    const uint32x4_t moves = {in, weights, in, weights};

    for (uint32_t k = 0; k < 2 * (taps->inside + taps->padding); k += 4) {
        vstrwq_u32(pointers + k, vaddq_u32(vldrwq_u32(pointers + k), moves));
    }
}

static void clear(nrw_tap_sums sums)
{
    for (uint32_t k = 0; k < GROUP; k++) {
        vstrwq_s32(sums[k], vdupq_n_s32(0));
    }
}

/* Outputs of less than 16 channels, of which the table of channels has no more. */
static void finish_part(nrw_tap_sums sums, const struct nrw_depthwise_op *op,
                        const struct nrw_channel *channels, uint32_t count, int8_t *out)
{
    const uint32x4_t step = vdupq_n_u32(GROUP * (uint32_t)sizeof *channels);
    const uint32x4_t offsets = vmulq_u32(vidupq_n_u32(0, 1), step);
    const int32x4_t zero = vdupq_n_s32(0);
    int32x4_t values[GROUP];

    for (uint32_t k = 0; k < GROUP; k++, channels++) {
        const mve_pred16_t some = vctp32q((count + 3 - k) / GROUP);
        const int32x4_t bias = vldrwq_gather_offset_z_s32(&channels->bias, offsets, some);
        const int32x4_t scale = vldrwq_gather_offset_z_s32(&channels->multiplier, offsets, some);
        const int32x4_t shift = vldrbq_gather_offset_z_s32(&channels->shift, offsets, some);
        const int32x4_t right = vminq_s32(shift, zero);
        int32x4_t x = vshlq_s32(vsubq_s32(bias, vldrwq_s32(sums[k])), vmaxq_s32(shift, zero));

        x = vqrdmulhq_s32(x, scale);
        x = vaddq_s32(x, vshrq_n_s32(vandq_s32(x, right), 31));
        values[k] = vaddq_n_s32(vrshlq_s32(x, right), op->out_zero_point);
    }
    const int16x8_t even = vqmovntq_s32(vqmovnbq_s32(vdupq_n_s16(0), values[0]), values[2]);
    const int16x8_t odd = vqmovntq_s32(vqmovnbq_s32(vdupq_n_s16(0), values[1]), values[3]);
    int8x16_t value = vqmovntq_s16(vqmovnbq_s16(vdupq_n_s8(0), even), odd);

    value = vmaxq_s8(value, vdupq_n_s8((int8_t)op->act_min));
    value = vminq_s8(value, vdupq_n_s8((int8_t)op->act_max));
    vstrbq_p_s8(out, value, vctp8q(count));
}

static inline int is_same(struct nrw_taps a, struct nrw_taps b)
{
    return a.first == b.first && a.end == b.end;
}

/* The taps of a pixel, of which `columns` are inside: moved from those of its left neighbour if
 * there is one. */
static inline void next_taps(struct taps *taps, const struct nrw_depthwise_op *op,
                             const struct nrw_window *window, struct nrw_taps columns,
                             int is_first, const int8_t *weights, uint32_t count)
{
    if (!is_first && is_same(columns, taps->columns)) {
        move_taps(taps, window->stride_w * window->pixel_stride, count);
    } else {
        taps->columns = columns;
        list_taps(taps, window, weights, op->out_channels);
    }
}

/* A pixel's outputs of the less than 16 channels whose taps come next. */
APART static void filter_part(struct taps *taps, const struct nrw_depthwise_op *op,
                              const struct nrw_channel *channels, uint32_t count, int8_t *out)
{
    nrw_tap_sums sums;

    clear(sums);
    nrw_add_taps(sums, taps->list, taps->inside, taps->padding, op->in_zero_point, count);
    finish_part(sums, op, channels, count, out);
}

/* How many pixels from one on, whose taps inside are `columns`, have the same ones: `most` or
 * fewer. Those whose windows are whole are counted, of others each is alone. */
static inline int32_t alike(const struct nrw_window *window, struct nrw_taps columns, int32_t most)
{
    const int32_t span = (window->kernel_w - 1) * window->dilation_w + 1;
    const int32_t more = window->in_width - span - columns.column;
    int32_t count = 1;

    if (columns.end - columns.first == window->kernel_w && more > 0) {
        count += (int32_t)((uint32_t)more / window->stride_w);
    }
    return count < most ? count : most;
}

/* Pixels of 8 channels that stand behind each other, from column x on, in pairs: two are one of 16
 * whose weights stand twice behind each other. Returns the column behind them. weights: of the
 * first channel. */
static int32_t filter_pairs(struct taps *taps, const struct nrw_depthwise_op *op,
                            const struct nrw_window *window, int32_t x, int32_t x1,
                            const int8_t *weights, struct nrw_rows *rows)
{
    const struct nrw_taps columns = nrw_taps_inside(window, x);
    const int32_t pairs = alike(window, columns, x1 - x) / 2;
    int8_t(*const twice)[CHANNELS] = taps->twice;

    if (pairs > 0) {
        for (int32_t k = 0; k < window->kernel_h * window->kernel_w; k++) {
            memcpy(twice[k], weights, CHANNELS / 2);
            memcpy(twice[k] + CHANNELS / 2, weights, CHANNELS / 2);
            weights += op->out_channels;
        }
        taps->columns = columns;
        list_taps(taps, window, twice[0], CHANNELS);
        rows->repeats = (uint32_t)pairs;
        nrw_filter(taps->list, taps->inside, taps->padding, op->in_zero_point, 1, rows);
        rows->out[0] += pairs * CHANNELS;
    }
    return x + 2 * pairs;
}

/* As nrw_depthwise_kernel, of 8 channels that stand behind each other from pixel to pixel. */
static void filter_8(struct taps *taps, const struct nrw_depthwise_op *op,
                     const struct nrw_window *window, int32_t x, int32_t x1,
                     const int8_t *weights, struct nrw_rows *rows)
{
    const uint32_t count = CHANNELS / 2;

    rows->offsets[2] = rows->offsets[0];
    rows->offsets[3] = rows->offsets[1];
    rows->in_step = CHANNELS;
    rows->out_step = CHANNELS;
    while (x < x1) {
        x = filter_pairs(taps, op, window, x, x1, weights, rows);
        if (x < x1) {
            next_taps(taps, op, window, nrw_taps_inside(window, x), 1, weights, count);
            filter_part(taps, op, rows->channels, count, rows->out[0]);
            rows->out[0] += count;
            x++;
        }
    }
}

/* As nrw_depthwise_kernel, with room for the taps. */
static INLINE void filter(struct taps *taps, const struct nrw_depthwise_op *op,
                          const struct nrw_window *window, int32_t x0, int32_t x1,
                          uint32_t first_channel, uint32_t count, int8_t *out,
                          uint32_t out_stride)
{
    const int8_t *const weights = op->weights + first_channel;
    const uint32_t part = count % CHANNELS;
    const uint32_t whole = count - part;
    int32_t some;
    struct nrw_rows rows;

    rows.channels = op->channels + first_channel;
    rows.out[0] = out;
    nrw_rows_to(&rows, outputs_of(op, rows.channels, count));
    if (count == CHANNELS / 2 && out_stride == count && window->pixel_stride == count &&
        window->stride_w == 1 && taps->twice) {
        filter_8(taps, op, window, x0, x1, weights, &rows);
        return;
    }
    rows.in_step = window->stride_w * window->pixel_stride;
    rows.out_step = out_stride;
    for (int32_t x = x0; x < x1; x += some) {
        const struct nrw_taps columns = nrw_taps_inside(window, x);

        some = part > 0 ? 1 : alike(window, columns, x1 - x);
        next_taps(taps, op, window, columns, x == x0 || part == 0, weights, count);
        if (whole > 0) {
            rows.repeats = (uint32_t)some;
            nrw_filter(taps->list, taps->inside, taps->padding, op->in_zero_point,
                       whole / CHANNELS, &rows);
        }
        if (part > 0) {
            filter_part(taps, op, rows.channels + whole, part, rows.out[0] + whole);
        }
        rows.out[0] += (uint32_t)some * out_stride;
    }
}

APART static void filter_many(const struct nrw_depthwise_op *op, const struct nrw_window *window,
                              int32_t x0, int32_t x1, uint32_t first_channel, uint32_t count,
                              int8_t *out, uint32_t out_stride)
{
    struct nrw_tap list[MOST_TAPS + 1];
    struct taps taps = {list, NULL, {0, 0, 0}, 0, 0};

    filter(&taps, op, window, x0, x1, first_channel, count, out, out_stride);
}

APART static void filter_few(const struct nrw_depthwise_op *op, const struct nrw_window *window,
                             int32_t x0, int32_t x1, uint32_t first_channel, uint32_t count,
                             int8_t *out, uint32_t out_stride)
{
    union {
        struct nrw_tap list[FEW_TAPS + 1];
        struct {
            struct nrw_tap list[PAIRED_TAPS + 1];
            int8_t twice[PAIRED_TAPS][CHANNELS];
        } pairs;
    } room;
    const int is_paired = window->kernel_h * window->kernel_w <= PAIRED_TAPS;
    struct taps taps = {room.list, is_paired ? room.pairs.twice : NULL, {0, 0, 0}, 0, 0};

    filter(&taps, op, window, x0, x1, first_channel, count, out, out_stride);
}

void nrw_depthwise_mve(const struct nrw_depthwise_op *op, const struct nrw_window *window,
                       int32_t x0, int32_t x1, uint32_t first_channel, uint32_t count, int8_t *out,
                       uint32_t out_stride, void *scratch)
{
    const uint32_t taps = (uint32_t)window->kernel_h * window->kernel_w;

    if (op->depth_multiplier != 1 || taps > MOST_TAPS) {
        nrw_depthwise_c(op, window, x0, x1, first_channel, count, out, out_stride, scratch);
    } else if (taps > FEW_TAPS) {
        filter_many(op, window, x0, x1, first_channel, count, out, out_stride);
    } else {
        filter_few(op, window, x0, x1, first_channel, count, out, out_stride);
    }
}

/* --- Folded ------------------------------------------------------------------------------- */

static inline uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Sums of 16 channels to their place in the folded row: bits 0 to 7, 8 to 15, and 16 and 17. */
static void store_sums(nrw_tap_sums sums, int8_t *low, int8_t *middle, uint8_t *highs,
                       uint32_t count)
{
    const mve_pred16_t some = vctp8q(count);
    const int32x4_t s0 = vnegq_s32(vldrwq_s32(sums[0]));
    const int32x4_t s1 = vnegq_s32(vldrwq_s32(sums[1]));
    const int32x4_t s2 = vnegq_s32(vldrwq_s32(sums[2]));
    const int32x4_t s3 = vnegq_s32(vldrwq_s32(sums[3]));
    const int16x8_t even = vmovntq_s32(vreinterpretq_s16_s32(s0), s2);
    const int16x8_t odd = vmovntq_s32(vreinterpretq_s16_s32(s1), s3);
    const int8x16_t none = vdupq_n_s8(0);
    int32x4_t bits = vshrq_n_s32(s0, 16);

    bits = vsliq_n_s32(bits, vshrq_n_s32(s1, 16), 2);
    bits = vsliq_n_s32(bits, vshrq_n_s32(s2, 16), 4);
    bits = vsliq_n_s32(bits, vshrq_n_s32(s3, 16), 6);
    vstrbq_p_s8(low, vmovntq_s16(vmovnbq_s16(none, even), odd), some);
    vstrbq_p_s8(middle, vshrntq_n_s16(vshrnbq_n_s16(none, even, 8), odd, 8), some);
    vstrbq_p_s32((int8_t *)highs, bits, vctp32q((count + 3) / 4));
}

/* The negative of what has these low 16 bits, and two more that stand lowest in `bits`, of which
 * the second is the sign. */
static inline int32x4_t joined(uint32x4_t low, uint32x4_t bits)
{
    const uint32x4_t high = vshlq_n_u32(vsliq_n_u32(low, bits, 16), 14);

    return vnegq_s32(vshrq_n_s32(vreinterpretq_s32_u32(high), 14));
}

static void load_sums(nrw_tap_sums sums, const int8_t *low, const int8_t *middle,
                      const uint8_t *highs, uint32_t count)
{
    const mve_pred16_t some = vctp8q(count);
    const uint8x16_t lows = vldrbq_z_u8((const uint8_t *)low, some);
    const uint8x16_t middles = vldrbq_z_u8((const uint8_t *)middle, some);
    const uint32x4_t bits = vldrbq_z_u32(highs, vctp32q((count + 3) / 4));
    const uint16x8_t even = vsliq_n_u16(vmovlbq_u8(lows), vmovlbq_u8(middles), 8);
    const uint16x8_t odd = vsliq_n_u16(vmovltq_u8(lows), vmovltq_u8(middles), 8);

    vstrwq_s32(sums[0], joined(vmovlbq_u16(even), bits));
    vstrwq_s32(sums[1], joined(vmovlbq_u16(odd), vshrq_n_u32(bits, 2)));
    vstrwq_s32(sums[2], joined(vmovltq_u16(even), vshrq_n_u32(bits, 4)));
    vstrwq_s32(sums[3], joined(vmovltq_u16(odd), vshrq_n_u32(bits, 6)));
}

void nrw_depthwise_fold_mve(const struct nrw_depthwise_op *op, const struct nrw_window *window,
                            int32_t x0, int32_t x1, const struct nrw_folded *folded)
{
    const uint32_t channels = op->out_channels;
    struct nrw_tap list[FOLDED_TAPS + 1];
    struct taps taps = {list, NULL, {0, 0, 0}, 0, 0};
    nrw_tap_sums sums;

    for (int32_t x = x0; x < x1; x++) {
        int8_t *const low = folded->row + 2u * (uint32_t)x * channels;
        uint8_t *const highs = folded->highs + (uint32_t)x * ((channels + 3) / 4);

        next_taps(&taps, op, window, nrw_taps_inside(window, x), x == x0, op->weights, channels);
        for (uint32_t c = 0; c < channels; c += CHANNELS) {
            clear(sums);
            nrw_add_taps(sums, taps.list, taps.inside, taps.padding, op->in_zero_point,
                         channels - c);
            store_sums(sums, low + c, low + channels + c, highs + c / 4,
                       least(channels - c, CHANNELS));
        }
    }
}

void nrw_depthwise_unfold_mve(const struct nrw_depthwise_op *op, const struct nrw_window *window,
                              int32_t x0, int32_t x1, const struct nrw_folded *folded, int8_t *out,
                              uint32_t out_stride)
{
    const uint32_t channels = op->out_channels;
    const int8_t *const weights = op->weights + 2u * window->kernel_w * channels;
    struct nrw_rows rows;
    struct nrw_tap list[FOLDED_TAPS + 1];
    struct taps taps = {list, NULL, {0, 0, 0}, 0, 0};
    nrw_tap_sums sums;

    nrw_rows_to(&rows, outputs_of(op, op->channels, channels));
    for (int32_t x = x0; x < x1; x++, out += out_stride) {
        const int8_t *const low = folded->row + 2u * (uint32_t)x * channels;
        const uint8_t *const highs = folded->highs + (uint32_t)x * ((channels + 3) / 4);

        next_taps(&taps, op, window, nrw_taps_inside(window, x), x == x0, weights, channels);
        for (uint32_t c = 0; c < channels; c += CHANNELS) {
            load_sums(sums, low + c, low + channels + c, highs + c / 4,
                      least(channels - c, CHANNELS));
            nrw_add_taps(sums, taps.list, taps.inside, taps.padding, op->in_zero_point,
                         channels - c);
            if (channels - c >= CHANNELS) {
                rows.channels = op->channels + c;
                rows.out[0] = out + c;
                nrw_finish_16(sums, &rows);
            } else {
                finish_part(sums, op, op->channels + c, channels - c, out + c);
            }
        }
    }
}
