/* SPDX-License-Identifier: Apache-2.0 */
#include "widen_dsp.h"

#include "asm_thumb.h"
#include "dsp.h"

/* A half of a pair, in memory. */
typedef int16_t __attribute__((may_alias)) half;

/* One in each half: products with them are the sum of a pair. */
#define ONES 0x00010001u

static inline uint32_t lower_half(int32_t value)
{
    return (uint32_t)value & 0xFFFFu;
}

/* --- One pixel ------------------------------------------------------------------------------- */

void nrw_widen(struct nrw_widened *to, const int8_t *in, uint32_t count)
{
    const int8_t *const end = in + count;
    const uint32_t step = to->step;
    uint32_t *pair = to->pair;
    int32_t sum = to->sum;

    if (to->is_odd != 0 && in < end) {
        sum += *in;
        ((half *)pair)[1] = *in++;
        pair += step;
        to->is_odd = 0;
    }
    for (; end - in >= 4; in += 4) {
        const uint32_t four = nrw_load_word(in);
        const uint32_t even = nrw_even_bytes(four);
        const uint32_t odd = nrw_odd_bytes(four);
        const uint32_t low = nrw_lower_halves(even, odd);
        const uint32_t high = nrw_upper_halves(even, odd);

        pair[0] = low;
        pair[step] = high;
        pair += 2 * step;
        sum = nrw_add_both(sum, low, ONES);
        sum = nrw_add_both(sum, high, ONES);
    }
    if (end - in >= 2) {
        *pair = lower_half(in[0]) | (uint32_t)in[1] << 16;
        pair += step;
        sum += in[0] + in[1];
        in += 2;
    }
    if (in < end) {
        *pair = lower_half(*in);
        sum += *in;
        to->is_odd = 1;
    }
    to->pair = pair;
    to->sum = sum;
}

/* Appends one value several times. */
static void widen_padding(struct nrw_widened *to, int32_t value, uint32_t count)
{
    to->sum += value * (int32_t)count;
    if (to->is_odd != 0 && count > 0) {
        ((half *)to->pair)[1] = (int16_t)value;
        to->pair += to->step;
        to->is_odd = 0;
        count--;
    }
    for (; count >= 2; count -= 2, to->pair += to->step) {
        *to->pair = nrw_both_halves(value);
    }
    if (count > 0) {
        *to->pair = lower_half(value);
        to->is_odd = 1;
    }
}

/* Elements [first, end) of a row of taps of which only some are inside. */
static void widen_row(const struct nrw_dsp_windows *windows, const struct nrw_taps *taps,
                      const int8_t *row, uint32_t first, uint32_t end, struct nrw_widened *to)
{
    const struct nrw_window *const window = windows->window;
    const uint32_t depth = windows->depth;
    const uint32_t start = row ? (uint32_t)taps->first * depth : end;
    const uint32_t stop = row ? (uint32_t)taps->end * depth : end;
    const uint32_t part = windows->is_dense ? windows->row_depth : depth;
    const uint32_t last = stop < end ? stop : end;
    uint32_t at = first;

    if (at < start) {
        at = start < end ? start : end;
        widen_padding(to, windows->zero_point, at - first);
    }
    while (at < last) {
        const uint32_t behind = at - start;
        const uint32_t tap = windows->is_dense ? 0 : behind / depth;
        const uint32_t within = behind - tap * depth;
        const uint32_t some = last - at < part - within ? last - at : part - within;

        nrw_widen(to,
                  nrw_pixel(window, row, taps->column + (int32_t)(tap * window->dilation_w)) +
                      within,
                  some);
        at += some;
    }
    if (at < end) {
        widen_padding(to, windows->zero_point, end - at);
    }
}

/* The window of column x; returns the elements' sum. */
static int32_t widen_one(struct nrw_dsp_windows *windows, int32_t x, uint32_t count,
                         uint32_t *pairs)
{
    const struct nrw_taps taps = nrw_taps_inside(windows->window, x);
    struct nrw_widened to = {pairs, windows->pixels, 0, 0};

    while (count > 0) {
        const uint32_t at = windows->at;
        const uint32_t rest = windows->row_depth - at;
        const uint32_t some = count < rest ? count : rest;

        widen_row(windows, &taps, windows->window->rows[windows->row], at, at + some, &to);
        windows->at += some;
        if (some == rest) {
            windows->at = 0;
            windows->row++;
        }
        count -= some;
    }
    return to.sum;
}

/* --- Two pixels ------------------------------------------------------------------------------ */

/* Widens rows up to one that is not there. */
void nrw_widen_rows_dsp(struct nrw_two_rows *rows);

/* r0: the structure; r1: next; r2: row; r3: apart; r4, r5: sums; r6: ones; r7: elements; r8: their
 * number; r9 to r12: words of both pixels. An odd element is one whose place is no word's. */
/* clang-format off */
__asm__(
    NRW_ASM_BEGIN("nrw_widen_rows_dsp")
    LINE("push {r0, r4-r12, lr}")
    LINE("ldr r3, [r0, #28]")
    LINE("ldrd r1, r2, [r0]")
    LINE("ldrd r4, r5, [r0, #8]")
    LINE("mov r6, #0x00010001")
    LINE("1:")
    LINE("ldr r7, [r2]")
    LINE("cmp r7, #0")
    LINE("beq 7f")
    LINE("ldrd r9, r8, [r0, #20]")
    LINE("adds r2, r2, #4")
    LINE("add r7, r7, r9")
    LINE("lsls r9, r1, #31")
    LINE("bcc 2f")
    LINE("ldrsb r10, [r7, r3]")
    LINE("ldrsb r9, [r7], #1")
    LINE("subs r8, r8, #1")
    LINE("strh r10, [r1, #4]")
    LINE("strh r9, [r1], #6")
    LINE("add r5, r5, r10")
    LINE("add r4, r4, r9")
    LINE("2:")
    LINE("subs r8, r8, #4")
    LINE("blo 4f")
    LINE("3:")
    LINE("ldr r11, [r7, r3]")
    LINE("ldr r9, [r7], #4")
    LINE("sxtb16 r12, r11")
    LINE("sxtb16 r11, r11, ror #8")
    LINE("sxtb16 lr, r9")
    LINE("sxtb16 r9, r9, ror #8")
    LINE("smlad r5, r12, r6, r5")
    LINE("smlad r5, r11, r6, r5")
    LINE("smlad r4, lr, r6, r4")
    LINE("smlad r4, r9, r6, r4")
    LINE("pkhbt r10, r12, r11, lsl #16")
    LINE("pkhtb r11, r11, r12, asr #16")
    LINE("pkhbt r12, lr, r9, lsl #16")
    LINE("pkhtb r9, r9, lr, asr #16")
    LINE("strd r12, r10, [r1], #8")
    LINE("strd r9, r11, [r1], #8")
    LINE("subs r8, r8, #4")
    LINE("bhs 3b")
    LINE("4:")
    LINE("lsls r8, r8, #31")
    LINE("bcc 5f")
    LINE("ldrh r10, [r7, r3]")
    LINE("ldrh r9, [r7], #2")
    LINE("orr r10, r10, r10, lsl #8")
    LINE("orr r9, r9, r9, lsl #8")
    LINE("sxtb16 r10, r10")
    LINE("sxtb16 r9, r9")
    LINE("smlad r5, r10, r6, r5")
    LINE("smlad r4, r9, r6, r4")
    LINE("strd r9, r10, [r1], #8")
    LINE("5:")
    LINE("bpl 6f")
    LINE("ldrsb r10, [r7, r3]")
    LINE("ldrsb r9, [r7]")
    LINE("add r5, r5, r10")
    LINE("add r4, r4, r9")
    LINE("uxth r10, r10")
    LINE("uxth r9, r9")
    LINE("strd r9, r10, [r1]")
    LINE("adds r1, r1, #2")
    LINE("6:")
    LINE("ldr r9, [r0, #16]")
    LINE("cmp r2, r9")
    LINE("bne 1b")
    LINE("7:")
    LINE("strd r1, r2, [r0]")
    LINE("strd r4, r5, [r0, #8]")
    LINE("pop {r0, r4-r12, pc}")
    LINE(".text"));
/* clang-format on */

/* The zero point as all of a row's elements. */
static NRW_NOINLINE void pad_row(struct nrw_two_rows *rows)
{
    const int32_t value = rows->zero_point;
    half *next = rows->next;
    uint32_t count = rows->length;

    rows->sums[0] += value * (int32_t)count;
    rows->sums[1] += value * (int32_t)count;
    if ((uintptr_t)next % 4 != 0) {
        next[0] = next[2] = (int16_t)value;
        next += 3;
        count--;
    }
    for (; count >= 2; count -= 2, next += 4) {
        ((uint32_t *)(void *)next)[0] = nrw_both_halves(value);
        ((uint32_t *)(void *)next)[1] = nrw_both_halves(value);
    }
    if (count > 0) {
        ((uint32_t *)(void *)next)[0] = lower_half(value);
        ((uint32_t *)(void *)next)[1] = lower_half(value);
        next++;
    }
    rows->next = next;
}

/* Widens up to the end, also rows that are not there. */
static void widen_to_end(struct nrw_two_rows *rows)
{
    for (;;) {
        nrw_widen_rows_dsp(rows);
        if (rows->row == rows->end) {
            return;
        }
        pad_row(rows);
        if (++rows->row == rows->end) {
            return;
        }
    }
}

void nrw_two_rows_of(struct nrw_two_rows *rows, const struct nrw_dsp_windows *windows, int32_t x)
{
    const struct nrw_window *const window = windows->window;
    const int32_t start = x * window->stride_w - window->pad_left;

    rows->sums[0] = rows->sums[1] = 0;
    rows->offset = (ptrdiff_t)(start - window->origin) * (ptrdiff_t)window->pixel_stride;
    rows->apart = window->stride_w * window->pixel_stride;
    rows->zero_point = windows->zero_point;
}

void nrw_widen_two_rows(struct nrw_two_rows *rows, const struct nrw_dsp_windows *windows,
                        uint32_t *pairs)
{
    rows->next = (half *)pairs;
    rows->row = windows->window->rows;
    rows->end = rows->row + windows->window->kernel_h;
    rows->length = windows->row_depth;
    rows->sums[0] = rows->sums[1] = 0;
    widen_to_end(rows);
}

/* Parts of windows that are inside. */
static void widen_two(struct nrw_dsp_windows *windows, uint32_t count, uint32_t *pairs,
                      int32_t *sums)
{
    const uint32_t depth = windows->row_depth;
    struct nrw_two_rows rows;

    nrw_two_rows_of(&rows, windows, windows->x);
    rows.next = (half *)pairs;
    rows.row = windows->window->rows + windows->row;
    rows.offset += (ptrdiff_t)windows->at;
    while (count > 0) {
        /* Whole rows, or some of one. */
        const uint32_t rest = depth - windows->at;
        const uint32_t some = rest == depth && count > depth ? count / depth : 1;

        rows.length = count < rest ? count : rest;
        rows.end = rows.row + some;
        widen_to_end(&rows);
        count -= some * rows.length;
        windows->at += rows.length;
        windows->row += some;
        rows.offset += (ptrdiff_t)rows.length;
        if (windows->at == depth) {
            windows->at = 0;
            rows.offset -= (ptrdiff_t)depth;
        } else {
            windows->row--;
            rows.row--;
        }
    }
    sums[0] = rows.sums[0];
    sums[1] = rows.sums[1];
}

void nrw_widen_windows(struct nrw_dsp_windows *windows, uint32_t count, uint32_t *pairs,
                       int32_t *sums)
{
    if (windows->pixels == 2 && nrw_are_inside(windows, windows->x)) {
        widen_two(windows, count, pairs, sums);
    } else {
        const uint32_t row = windows->row, at = windows->at;

        for (uint32_t k = 0; k < windows->pixels; k++) {
            windows->row = row;
            windows->at = at;
            sums[k] = widen_one(windows, windows->x + (int32_t)k, count, pairs + k);
        }
    }
}
