/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two neighbouring pixels at a time, which share the weights and the requantization of their
 * channels.
 */
#include "depthwise_dsp.h"
#include "dsp.h"
#include "finish_dsp.h"

/* A tap of both pixels: sums r4 to r7 and r8 to r11. r0: the table, r12: the channel. */
#define MULTIPLY(sum0, sum1, sum2, sum3)            \
    "smlabb " sum0 ", r1, r3, " sum0 "\n\t"         \
    "smlabb " sum1 ", r2, lr, " sum1 "\n\t"         \
    "smlatt " sum2 ", r1, r3, " sum2 "\n\t"         \
    "smlatt " sum3 ", r2, lr, " sum3 "\n\t"
#define FIRST_PIXEL                                 \
    "ldmia r0!, {r1, r3}\n\t"                       \
    "ldr r2, [r1, r12]\n\t"                         \
    "ldr lr, [r3, r12]\n\t"                         \
    "sxtb16 r1, r2\n\t"                             \
    "sxtb16 r2, r2, ror #8\n\t"                     \
    "sxtb16 r3, lr\n\t"                             \
    "sxtb16 lr, lr, ror #8\n\t"
#define SECOND_PIXEL                                \
    "ldr r1, [r0], #4\n\t"                          \
    "ldr r2, [r1, r12]\n\t"                         \
    "sxtb16 r1, r2\n\t"                             \
    "sxtb16 r2, r2, ror #8\n\t"                     \
    MULTIPLY("r8", "r9", "r10", "r11")
#define TAP FIRST_PIXEL MULTIPLY("r4", "r5", "r6", "r7") SECOND_PIXEL

/* All taps, from the biases in r8 to r11 on. Squares of odd numbers are 1 more than eights. */
#define ALL_TAPS                                    \
    "mov r4, r8\n\t"                                \
    "mov r5, r9\n\t"                                \
    "mov r6, r10\n\t"                               \
    "mov r7, r11\n\t"                               \
    "b 3f\n"                                        \
    "2:\n\t"                                        \
    TAP                                             \
    "3:\n\t"                                        \
    "ldr r1, [sp, #8]\n\t"                          \
    "cmp r0, r1\n\t"                                \
    "bne 2b\n\t"                                    \
    "ldr r1, [sp, #4]\n\t"                          \
    "cmp r0, r1\n\t"                                \
    "beq 5f\n"                                      \
    "4:\n\t"                                        \
    ".rept 8\n\t"                                   \
    TAP                                             \
    ".endr\n\t"                                     \
    "ldr r1, [sp, #4]\n\t"                          \
    "cmp r0, r1\n\t"                                \
    "bne 4b\n"                                      \
    "5:\n\t"

/* r3: channel r12 of the table of channels. */
#define CHANNELS(sp)                                \
    "ldr r1, [" sp "]\n\t"                          \
    "ldr r3, [r1, #12]\n\t"                         \
    "add r3, r3, r12, lsl #3\n\t"                   \
    "add r3, r3, r12, lsl #2\n\t"
/* A channel of both pixels. lr: the zero point. */
#define QUICKLY(a, b, at, exact)                    \
    "ldrd r1, r2, [r3, #" at "]\n\t"                \
    NRW_QUICK_CHANNEL("r2", "lr", "r0", exact)      \
    NRW_FINISH_QUICKLY(a, "r1", "r2", "r0")         \
    NRW_FINISH_QUICKLY(b, "r1", "r2", "r0")
#define EXACTLY(label, a, b, at)                    \
    label ":\n\t"                                   \
    "ldrd r1, r2, [r3, #" at "]\n\t"                \
    NRW_EXACT_CHANNEL("r1", "r2", "lr", "r0", "6f") \
    NRW_FINISH_EXACTLY(a, "r1", "r2", "r0")         \
    NRW_FINISH_EXACTLY(b, "r1", "r2", "r0")
/* What the assembler code reads. A tap is three pointers to the first channel: of the first pixel,
 * of the weights, of the second pixel. */
struct two {
    const int8_t *const *taps;
    const int8_t *const *end;    /* of the table, */
    const int8_t *const *eights; /* the last part of which is taken eight by eight */
    const struct nrw_channel *channels;
    int8_t *out[2];
    int32_t zero_point; /* nrw_finish_word */
    uint32_t count;   /* channels, a multiple of 4 */
};

/* Four channels of both pixels, whose sums and channel are in registers, to where they go. The flag Z
 * is set unless one is odd (finish_dsp.h). */
__asm__(NRW_ASM_BEGIN("nrw_depthwise_finish_two")
        "push {lr}\n\t"
        CHANNELS("sp, #4")
        "ldr lr, [r1, #24]\n\t"
        "lsls r0, lr, #31\n\t"
        "bne 2f\n\t"
        QUICKLY("r4", "r8", "4", "2f")
        QUICKLY("r5", "r9", "16", "3f")
        QUICKLY("r6", "r10", "28", "4f")
        QUICKLY("r7", "r11", "40", "5f")
        "1:\n\t"
        NRW_PACK("r4", "r5", "r6", "r7")
        NRW_PACK("r8", "r9", "r10", "r11")
        "ldr r1, [sp, #4]\n\t"
        "ldrd r2, r3, [r1, #16]\n\t"
        "str r4, [r2, r12]\n\t"
        "str r8, [r3, r12]\n\t"
        "movs r0, #0\n\t"
        "pop {pc}\n"
        EXACTLY("2", "r4", "r8", "4")
        EXACTLY("3", "r5", "r9", "16")
        EXACTLY("4", "r6", "r10", "28")
        EXACTLY("5", "r7", "r11", "40")
        "b 1b\n"
        "6:\n\t"
        "movs r0, #1\n\t"
        "pop {pc}\n"
        NRW_ASM_END("nrw_depthwise_finish_two"));

/* Returns the first of four channels that it could not compute, or `count`. r7 is the compiler's
 * frame pointer if it has one, so it is not told that r7 changes. */
static uint32_t compute_taps(const struct two *two)
{
    register const struct two *r0 __asm__("r0") = two;
    register const int8_t *const *r1 __asm__("r1") = two->end;
    register const int8_t *const *r2 __asm__("r2") = two->eights;
    register uint32_t r12 __asm__("r12") = 0;

    __asm__ volatile("push {r0, r1, r2, r7}\n"
                     "1:\n\t"
                     CHANNELS("sp")
                     "ldr r0, [r1]\n\t"
                     "ldr r8, [r3]\n\t"
                     "ldr r9, [r3, #12]\n\t"
                     "ldr r10, [r3, #24]\n\t"
                     "ldr r11, [r3, #36]\n\t"
                     ALL_TAPS
                     "bl nrw_depthwise_finish_two\n\t"
                     "bne 6f\n\t"
                     "ldr r1, [sp]\n\t"
                     "ldr r2, [r1, #28]\n\t"
                     "add r12, r12, #4\n\t"
                     "cmp r12, r2\n\t"
                     "bcc 1b\n"
                     "6:\n\t"
                     "pop {r0, r1, r2, r7}"
                     : "+r"(r0), "+r"(r1), "+r"(r2), "+r"(r12)
                     :
                     : "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "lr", "cc", "memory");
    return r12;
}

/* of a tap */
enum { POINTERS = 3 };

NRW_NOINLINE static uint32_t compute(const struct nrw_depthwise_strip *strip, uint32_t c,
                                     uint32_t end, const int8_t **table)
{
    const struct nrw_window *const window = strip->window;
    const uint32_t taps = (uint32_t)window->kernel_h * window->kernel_w;
    uint32_t zero_points[NRW_PADDED_CHANNELS / 4];
    struct two two = {
        .taps = table,
        .end = table + taps * POINTERS,
        .eights = table + taps % 8 * POINTERS,
        .zero_point = strip->zero_point,
    };
    uint32_t done = 0;

    nrw_fill_zero_points(zero_points, strip->in_zero_point);
    for (; c < end && done == two.count; c += done) {
        const int8_t *weights = strip->weights + c;

        for (uint32_t tap = 0; tap < taps; tap++, weights += strip->weight_step) {
            table[tap * POINTERS + 1] = weights;
        }
        two.count = nrw_fill_taps(table, POINTERS, zero_points, window, strip->x0, c, end - c);
        two.count = nrw_fill_taps(table + 2, POINTERS, zero_points, window, strip->x0 + 1, c,
                                  two.count);
        two.channels = strip->channels + c;
        two.out[0] = strip->out + c;
        two.out[1] = strip->out + strip->out_stride + c;
        done = compute_taps(&two);
    }
    return c;
}

uint32_t nrw_depthwise_two_few_dsp(const struct nrw_depthwise_strip *strip, uint32_t c,
                                   uint32_t end)
{
    const int8_t *table[NRW_FEW_TAPS * POINTERS];

    return compute(strip, c, end, table);
}

uint32_t nrw_depthwise_two_more_dsp(const struct nrw_depthwise_strip *strip, uint32_t c,
                                    uint32_t end)
{
    const int8_t *table[NRW_MORE_TAPS * POINTERS];

    return compute(strip, c, end, table);
}

uint32_t nrw_depthwise_two_most_dsp(const struct nrw_depthwise_strip *strip, uint32_t c,
                                    uint32_t end)
{
    const int8_t *table[NRW_MOST_TAPS * POINTERS];

    return compute(strip, c, end, table);
}
