/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 3x3 with stride 1 or 2: four neighbouring pixels at a time, or three, and two channels of each.
 * Their windows overlap: every column of a row of the input is loaded once, and meets up to three
 * columns of the kernel, which are in registers.
 */
#include "depthwise_dsp.h"
#include "dsp.h"
#include "finish_dsp.h"

/* clang-format off */

/* A column of a row of the input, to lr; r0: the table, r12: the channel. ror: that of the channels
 * that are taken out of four, of which the registers have two as halves. */
#define COLUMN(ror)                          \
    "ldr lr, [r0], #4\n\t"                   \
    "ldr lr, [lr, r12]\n\t"                  \
    "sxtb16 lr, lr" ror "\n\t"
/* Its products with a column of the kernel. */
#define MULTIPLY(weights, first, second)     \
    "smlabb " first ", lr, " weights ", " first "\n\t" \
    "smlatt " second ", lr, " weights ", " second "\n\t"
/* The sums of the pixels: r4 to r7 of the first channel, r8 to r11 of the second. */
#define PIXEL_0(weights) MULTIPLY(weights, "r4", "r8")
#define PIXEL_1(weights) MULTIPLY(weights, "r5", "r9")
#define PIXEL_2(weights) MULTIPLY(weights, "r6", "r10")
#define PIXEL_3(weights) MULTIPLY(weights, "r7", "r11")

#define WEIGHTS(ror)                         \
    "ldmia r0!, {r1, r2, r3}\n\t"            \
    "ldr r1, [r1, r12]\n\t"                  \
    "ldr r2, [r2, r12]\n\t"                  \
    "ldr r3, [r3, r12]\n\t"                  \
    "sxtb16 r1, r1" ror "\n\t"               \
    "sxtb16 r2, r2" ror "\n\t"               \
    "sxtb16 r3, r3" ror "\n\t"

/* A row of three pixels, and of four, with stride 1 and 2. */
#define BEGIN_1(ror)                         \
    WEIGHTS(ror)                             \
    COLUMN(ror) PIXEL_0("r1")                \
    COLUMN(ror) PIXEL_0("r2") PIXEL_1("r1")  \
    COLUMN(ror) PIXEL_0("r3") PIXEL_1("r2") PIXEL_2("r1")
#define ROW_3_1(ror)                         \
    BEGIN_1(ror)                             \
    COLUMN(ror) PIXEL_1("r3") PIXEL_2("r2")  \
    COLUMN(ror) PIXEL_2("r3")
#define ROW_4_1(ror)                         \
    BEGIN_1(ror)                             \
    COLUMN(ror) PIXEL_1("r3") PIXEL_2("r2") PIXEL_3("r1") \
    COLUMN(ror) PIXEL_2("r3") PIXEL_3("r2")  \
    COLUMN(ror) PIXEL_3("r3")
#define BEGIN_2(ror)                         \
    WEIGHTS(ror)                             \
    COLUMN(ror) PIXEL_0("r1")                \
    COLUMN(ror) PIXEL_0("r2")                \
    COLUMN(ror) PIXEL_0("r3") PIXEL_1("r1")  \
    COLUMN(ror) PIXEL_1("r2")                \
    COLUMN(ror) PIXEL_1("r3") PIXEL_2("r1")  \
    COLUMN(ror) PIXEL_2("r2")
#define ROW_3_2(ror)                         \
    BEGIN_2(ror)                             \
    COLUMN(ror) PIXEL_2("r3")
#define ROW_4_2(ror)                         \
    BEGIN_2(ror)                             \
    COLUMN(ror) PIXEL_2("r3") PIXEL_3("r1")  \
    COLUMN(ror) PIXEL_3("r2")                \
    COLUMN(ror) PIXEL_3("r3")

/* What is done to the four pixels' sums of both channels. */
#define EACH(what) FIRST(what) SECOND(what)
#define FIRST(what) what("r4") what("r5") what("r6") what("r7")
#define SECOND(what) what("r8") what("r9") what("r10") what("r11")

#define START(a, b, c, d, bias)              \
    "ldr " a ", [r1, #" bias "]\n\t"         \
    "mov " b ", " a "\n\t"                   \
    "mov " c ", " a "\n\t"                   \
    "mov " d ", " a "\n\t"

/* r3: the first of four channels; r0: the zero point. */
#define QUICKLY(at, exact, each)             \
    "ldrd r1, r2, [r3, #" at "]\n\t"         \
    NRW_QUICK_CHANNEL("r2", "r0", "lr", exact) \
    each(QUICK)
#define QUICK(sum) NRW_FINISH_QUICKLY(sum, "r1", "r2", "lr")
#define ZERO_POINT                           \
    "ldr lr, [sp]\n\t"                       \
    "ldr r0, [lr, #24]\n\t"
/* Functions for all pixels of either channel. */
#define EXACTLY(label, each)                 \
    label ":\n\t"                            \
    NRW_EXACT_CHANNEL("r1", "r2", "r0", "r0", "6b") \
    each(EXACT)                              \
    "bx lr\n"
#define EXACT(sum) NRW_FINISH_EXACTLY(sum, "r1", "r2", "r0")
/* Both channels, or the second one, and then on to 8. */
#define EXACT_CHANNELS(label, multiplier0, multiplier1) \
    label "1:\n\t"                           \
    "ldrd r1, r2, [r3, #" multiplier0 "]\n\t" \
    "bl 3f\n\t"                              \
    ZERO_POINT                               \
    "b " label "2f\n"                       \
    label "2:\n\t"                           \
    "ldrd r1, r2, [r3, #" multiplier1 "]\n\t" \
    "bl 4f\n\t"                              \
    "b " label "3b\n"
/* The last of three pixels is stored twice: what would be a fourth one's is stored before it. */
#define STORE(a, b, c, d)                    \
    "strb " d ", [r3, r12]\n\t"              \
    "strb " a ", [r0, r12]\n\t"              \
    "strb " b ", [r1, r12]\n\t"              \
    "strb " c ", [r2, r12]\n\t"

/* All rows, and then on to 8. */
#define ROWS_OF(label, row, ror)             \
    label ":\n\t"                            \
    row(ror)                                 \
    "ldr lr, [sp]\n\t"                       \
    "ldr lr, [lr, #32]\n\t"                  \
    "cmp r0, lr\n\t"                         \
    "bne " label "b\n\t"                     \
    "b 8f\n\t"

/* Two of four channels; their places in the table of channels, in bytes: of the biases, and of the
 * multipliers. The channel moves on by `step` and then by 2. exact: where EXACT_CHANNELS begin. */
#define TWO_CHANNELS(ror, bias0, bias1, multiplier0, multiplier1, step, exact) \
    "ldr lr, [sp]\n\t"                       \
    "ldm lr, {r0, r1}\n\t"                   \
    START("r4", "r5", "r6", "r7", bias0)     \
    START("r8", "r9", "r10", "r11", bias1)   \
    "ldr lr, [lr, #36]\n\t"                  \
    "tbh [pc, lr, lsl #1]\n"                 \
    "7:\n\t"                                 \
    ".hword (31f - 7b) / 2, (32f - 7b) / 2, (41f - 7b) / 2, (42f - 7b) / 2\n" \
    ROWS_OF("31", ROW_3_1, ror)              \
    ROWS_OF("32", ROW_3_2, ror)              \
    ROWS_OF("41", ROW_4_1, ror)              \
    ROWS_OF("42", ROW_4_2, ror)              \
    "8:\n\t"                                 \
    ZERO_POINT                               \
    "ldr r3, [lr, #4]\n\t"                   \
    "lsls r1, r0, #31\n\t"                   \
    "bne " exact "1f\n\t"                    \
    QUICKLY(multiplier0, exact "1f", FIRST)  \
    QUICKLY(multiplier1, exact "2f", SECOND) \
    exact "3:\n\t"                           \
    "ldr lr, [sp]\n\t"                       \
    "ldrd r0, r1, [lr, #8]\n\t"              \
    "ldrd r2, r3, [lr, #16]\n\t"             \
    step                                     \
    STORE("r4", "r5", "r6", "r7")            \
    "add r12, r12, #2\n\t"                   \
    STORE("r8", "r9", "r10", "r11")

/* clang-format on */

enum { ROWS = 3, TAPS = 3, MOST_PIXELS = 4, MOST_COLUMNS = 9 };

/* What the assembler code reads; the channels move on. A row of the table has pointers to the
 * first channel: of the kernel's three columns, and of the input's under the windows. */
struct strip {
    const int8_t *const *table;
    const struct nrw_channel *channels;
    int8_t *out[MOST_PIXELS];
    int32_t zero_point; /* nrw_finish_word */
    uint32_t count;   /* channels, a multiple of 4 */
    const int8_t *const *end; /* of the table */
    uint32_t kind; /* 2 * (pixels - 3) + stride - 1 */
};

/* Computes all channels. Returns the first of four that it could not compute, or `count`. r7 is the
 * compiler's frame pointer if it has one, so it is not told that r7 changes. */
static uint32_t compute(struct strip *strip)
{
    register struct strip *r0 __asm__("r0") = strip;
    register uint32_t r12 __asm__("r12") = 0;

    /* clang-format off */
    __asm__ volatile("push {r0, r7}\n"
                     "1:\n\t"
                     TWO_CHANNELS("", "0", "24", "4", "28", "", "5")
                     "sub r12, r12, #2\n\t"
                     TWO_CHANNELS(", ror #8", "12", "36", "16", "40", "add r12, r12, #1\n\t", "6")
                     "ldr r1, [lr, #4]\n\t"
                     "ldr r2, [lr, #28]\n\t"
                     "add r12, r12, #1\n\t"
                     "add r1, r1, #48\n\t"
                     "str r1, [lr, #4]\n\t"
                     "cmp r12, r2\n\t"
                     "bcc 1b\n"
                     "6:\n\t"
                     "pop {r0, r7}\n\t"
                     "b 9f\n"
                     EXACT_CHANNELS("5", "4", "28")
                     EXACT_CHANNELS("6", "16", "40")
                     EXACTLY("3", FIRST)
                     EXACTLY("4", SECOND)
                     "9:"
                     : "+r"(r0), "+r"(r12)
                     :
                     : "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "lr", "cc",
                       "memory");
    /* clang-format on */
    return r12;
}

/* The columns of the input under the windows: the first `before` and those from `inside` on are
 * padding. */
struct columns {
    int32_t all, before, inside;
};

static struct columns columns_of(const struct nrw_depthwise_strip *strip)
{
    const struct nrw_window *const window = strip->window;
    const int32_t stride = window->stride_w;
    const int32_t start = strip->x0 * stride - window->pad_left;
    const int32_t end = window->in_width - start;
    struct columns columns = {.all = (strip->x1 - strip->x0 - 1) * stride + TAPS};

    columns.inside = end < columns.all ? end : columns.all;
    columns.before = start >= 0 ? 0 : -start < columns.all ? -start : columns.all;
    return columns;
}

/* A row of the table, from channel c on, some of which is padding. */
NRW_NOINLINE static void fill_partly(const int8_t **table, const struct nrw_depthwise_strip *strip,
                                     const int8_t *row, uint32_t c, const struct columns *columns,
                                     const int8_t *padding)
{
    const struct nrw_window *const window = strip->window;
    const int32_t start = strip->x0 * window->stride_w - window->pad_left;
    const int32_t end = row ? columns->inside : 0;

    for (int32_t column = 0; column < columns->all; column++) {
        const int is_inside = column >= columns->before && column < end;

        table[column] = is_inside ? nrw_pixel(window, row, start + column) + c : padding;
    }
}

/* The table from channel c on. Returns how many of `count` channels it serves. */
static uint32_t fill(const int8_t **table, const struct nrw_depthwise_strip *strip, uint32_t c,
                     uint32_t count, const struct columns *columns, const int8_t *padding)
{
    const struct nrw_window *const window = strip->window;
    const int is_padded = columns->before > 0 || columns->inside < columns->all;
    const int32_t start = strip->x0 * window->stride_w - window->pad_left;
    const int8_t *weights = strip->weights + c;
    int are_padded = is_padded;

    for (uint32_t i = 0; i < ROWS; i++) {
        const int8_t *const row = window->rows[i];

        for (uint32_t j = 0; j < TAPS; j++, weights += strip->weight_step) {
            *table++ = weights;
        }
        if (row && !is_padded) {
            const int8_t *pixel = nrw_pixel(window, row, start) + c;

            for (int32_t k = 0; k < columns->all; k++, pixel += window->pixel_stride) {
                *table++ = pixel;
            }
        } else {
            fill_partly(table, strip, row, c, columns, padding);
            table += columns->all;
            are_padded = 1;
        }
    }
    return are_padded && count > NRW_PADDED_CHANNELS ? NRW_PADDED_CHANNELS : count;
}

int nrw_depthwise_has_fours(const struct nrw_window *window)
{
    return window->kernel_h == ROWS && window->kernel_w == TAPS && window->dilation_w == 1 &&
           window->stride_w <= 2;
}

uint32_t nrw_depthwise_four_dsp(const struct nrw_depthwise_strip *strip, uint32_t c, uint32_t end)
{
    const uint32_t pixels = (uint32_t)(strip->x1 - strip->x0);
    const struct columns columns = columns_of(strip);
    const int8_t *table[ROWS * (TAPS + MOST_COLUMNS)];
    uint32_t zero_points[NRW_PADDED_CHANNELS / 4];
    struct strip part = {.table = table, .zero_point = strip->zero_point};
    uint32_t done = 0;

    part.kind = 2 * (pixels - 3) + strip->window->stride_w - 1;
    nrw_fill_zero_points(zero_points, strip->in_zero_point);
    for (; c < end && done == part.count; c += done) {
        int8_t *out = strip->out + c;

        part.count = fill(table, strip, c, end - c, &columns, (const int8_t *)zero_points);
        part.end = table + ROWS * (TAPS + columns.all);
        part.channels = strip->channels + c;
        for (uint32_t k = 0; k < pixels; k++, out += strip->out_stride) {
            part.out[k] = out;
        }
        part.out[MOST_PIXELS - 1] = part.out[pixels - 1];
        done = compute(&part);
    }
    return c;
}
