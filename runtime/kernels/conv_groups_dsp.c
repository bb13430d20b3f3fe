/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 32-bit word of weights has a pair of elements of two output channels, even and odd. Its
 * halfwords are w[odd] * 256 + w[even] + 128, so without any unpacking SMLAD adds the products of
 * that number, and after one SXTB16 those of w[odd]. The even channel's sum follows at the end:
 * what was added, less 256 sums of the odd channel, less 128 times the sum of the window's
 * elements. All of that is exact modulo 2^32.
 *
 * Sums are finished in registers, as finish_dsp.h says; a group with a channel that is not for its
 * instructions is left to requant.h.
 */
#include "conv_groups.h"

#include "finish_dsp.h"

/* clang-format off */

/* --- Two pixels ---------------------------------------------------------------------------- *
 * r4, r5: channel 0, or what its sums are made of; r6, r7: channel 1; r8, r9: 2; r10, r11: 3; the
 * first of each is pixel 0's. r12: window, lr: weights. */
#define STEP_2                         \
    LINE("ldrd r0, r1, [r12], #8")     \
    LINE("ldrd r2, r3, [lr], #8")      \
    LINE("smlad r4, r2, r0, r4")       \
    LINE("smlad r5, r2, r1, r5")       \
    LINE("sxtb16 r2, r2, ror #8")      \
    LINE("smlad r8, r3, r0, r8")       \
    LINE("smlad r9, r3, r1, r9")       \
    LINE("sxtb16 r3, r3, ror #8")      \
    LINE("smlad r6, r2, r0, r6")       \
    LINE("smlad r7, r2, r1, r7")       \
    LINE("smlad r10, r3, r0, r10")     \
    LINE("smlad r11, r3, r1, r11")

/* All products of a group; r2: its channels. Then the even channels' sums. */
#define PRODUCTS_2                                          \
    LINE("ldr r12, [sp, #16]")                              \
    LINE("ldr pc, [sp, #20]")                               \
    LINE(".balign 4")                                       \
    LINE("2:")                                              \
    STEP_2 STEP_2 STEP_2 STEP_2 STEP_2 STEP_2 STEP_2 STEP_2 \
    LINE("ldrd r2, r3, [sp, #8]")                          \
    LINE("cmp r12, r3")                                     \
    LINE("bne 2b")

#define EVEN_CHANNELS_2                                     \
    LINE("sub r4, r4, r6, lsl #8")                          \
    LINE("sub r5, r5, r7, lsl #8")                          \
    LINE("sub r8, r8, r10, lsl #8")                         \
    LINE("sub r9, r9, r11, lsl #8")

/* A channel's sums to int8, at the label `quick` or from `exact` on. `at`: where its multiplier
 * stands behind r2; r3: the zero point. */
#define QUICKLY(at, exact, finish)         \
    LINE("ldrd r0, r1, [r2, #" at "]")     \
    NRW_QUICK_CHANNEL("r1", "r3", "r12", exact) \
    finish
#define EXACTLY(label, at, odd, finish)    \
    LINE(label ":")                        \
    LINE("ldrd r0, r1, [r2, #" at "]")     \
    NRW_EXACT_CHANNEL("r0", "r1", "r3", "r12", odd) \
    finish
#define QUICK(a) NRW_FINISH_QUICKLY(a, "r0", "r1", "r12")
#define EXACT(a) NRW_FINISH_EXACTLY(a, "r0", "r1", "r12")

/* Leaves the group, of which so many channels are finished. */
#define LEFT_AT(label, channels)           \
    LINE(label ":")                        \
    LINE("movs r3, #" channels)            \
    LINE("b 9f")

/* Four int8 to the range from r0 to r1; r12 is changed. */
#define CLAMP(a)                           \
    LINE("ssub8 r12, " a ", r0")           \
    LINE("sel " a ", " a ", r0")           \
    LINE("ssub8 r12, r1, " a)              \
    LINE("sel " a ", " a ", r1")

/* Adds to four sums, from r0 on. */
#define ADD(a, b, c, d)                    \
    LINE("ldm r0, {r1-r3, r12}")           \
    LINE("add r1, r1, " a)                 \
    LINE("add r2, r2, " b)                 \
    LINE("add r3, r3, " c)                 \
    LINE("add r12, r12, " d)               \
    LINE("stm r0!, {r1-r3, r12}")

/* The structure is copied to where sp points to, and at the end what changes of it is copied back.
 * lr: the weights; r2: the channels, both of the first group. */
#define ENTER                                  \
    LINE("push {r0, r4-r11, lr}")              \
    LINE("ldrd r2, r3, [r0, #56]")             \
    LINE("push {r2, r3}")                      \
    LINE("ldm r0, {r0-r12, lr}")               \
    LINE("push {r0-r12, lr}")                  \
    LINE("mov lr, r1")                         \
    LINE("adr.w r1, 2f")                       \
    LINE("add r1, r1, r5")                     \
    LINE("orr r1, r1, #1")                     \
    LINE("str r1, [sp, #20]")

/* 8: all is done; 9: a group is left, of which r3 channels are finished. */
#define LEAVE                                  \
    LINE("8:")                                 \
    LINE("movs r3, #4")                        \
    LINE("9:")                                 \
    LINE("ldr r0, [sp, #64]")                  \
    LINE("ldr r1, [sp, #0]")                   \
    LINE("ldr r2, [sp, #8]")                   \
    LINE("str r1, [r0]")                       \
    LINE("strd lr, r2, [r0, #4]")              \
    LINE("ldrd r1, r2, [sp, #24]")             \
    LINE("strd r1, r2, [r0, #24]")             \
    LINE("str r3, [r0, #64]")                  \
    LINE("add r0, r0, #68")                    \
    LINE("stm r0, {r4-r11}")                   \
    LINE("add sp, sp, #68")                    \
    LINE("pop {r4-r11, pc}")                   \
    LINE(".text")

/* r0, r6, r1, r10: the biases of the four channels at r2. */
#define BIASES                 \
    LINE("ldr r0, [r2, #0]")   \
    LINE("ldr r6, [r2, #12]")  \
    LINE("ldr r1, [r2, #24]")  \
    LINE("ldr r10, [r2, #36]")

/* Goes to 4 unless a part of a window begins with sums; r3: where these stand. */
#define UNLESS_BEGUN          \
    LINE("ldr r3, [sp, #0]") \
    LINE("cbz r3, 4f")        \
    LINE("ldr r0, [sp, #32]") \
    LINE("add lr, lr, r0")

/* Leaves sums to the window's next part, unless r2 says that there is none; then goes to 3. */
#define UNLESS_LEFT(bytes, sums)    \
    LINE("cbnz r2, 3f")             \
    LINE("ldr r3, [sp, #0]")       \
    LINE("subs r3, r3, #" bytes)    \
    LINE("stm r3, {" sums "}")      \
    NEXT_GROUP                      \
    LINE("b 8f")                    \
    LINE("3:")

/* r3: the zero point. Goes to `exact` where no channel is to be finished quickly. */
#define UNLESS_EXACT(exact)   \
    LINE("ldr r3, [sp, #48]") \
    LINE("lsls r0, r3, #31")  \
    LINE("bne " exact)

/* The next group of four channels, if there is one. */
#define NEXT_GROUP            \
    LINE("ldr r0, [sp, #36]") \
    LINE("cmp lr, r0")        \
    LINE("bne 1b")

__asm__(
    NRW_ASM_BEGIN("nrw_conv_sum_two_dsp")
    ENTER
    LINE("1:")
    UNLESS_BEGUN
    LINE("ldm r3!, {r4-r11}")
    LINE("str r3, [sp, #0]")
    LINE("ldrd r2, r3, [sp, #40]")
    LINE("subs r4, r4, r2")
    LINE("subs r5, r5, r3")
    LINE("sub r8, r8, r2")
    LINE("sub r9, r9, r3")
    LINE("b 5f")
    LINE("4:")
    BIASES
    LINE("ldrd r2, r3, [sp, #40]")
    LINE("add r0, r0, r6, lsl #8")
    LINE("add r1, r1, r10, lsl #8")
    LINE("mov r7, r6")
    LINE("mov r11, r10")
    LINE("sub r4, r0, r2")
    LINE("sub r5, r0, r3")
    LINE("sub r8, r1, r2")
    LINE("sub r9, r1, r3")
    LINE("5:")
    PRODUCTS_2
    UNLESS_LEFT("32", "r4-r11")
    EVEN_CHANNELS_2
    UNLESS_EXACT("30f")
    QUICKLY("4", "30f", QUICK("r4") QUICK("r5"))
    QUICKLY("16", "31f", QUICK("r6") QUICK("r7"))
    QUICKLY("28", "32f", QUICK("r8") QUICK("r9"))
    QUICKLY("40", "33f", QUICK("r10") QUICK("r11"))
    LINE("7:")
    NRW_PACK("r4", "r6", "r8", "r10")
    NRW_PACK("r5", "r7", "r9", "r11")
    LINE("ldr r0, [sp, #60]")
    LINE("cbz r0, 6f")
    LINE("ldrd r0, r1, [sp, #52]")
    CLAMP("r4")
    CLAMP("r5")
    LINE("6:")
    LINE("ldrd r0, r1, [sp, #24]")
    LINE("str r4, [r0], #4")
    LINE("str r5, [r1], #4")
    LINE("strd r0, r1, [sp, #24]")
    LINE("adds r2, r2, #48")
    LINE("str r2, [sp, #8]")
    NEXT_GROUP
    LINE("b 8f")
    EXACTLY("30", "4", "20f", EXACT("r4") EXACT("r5"))
    EXACTLY("31", "16", "21f", EXACT("r6") EXACT("r7"))
    EXACTLY("32", "28", "22f", EXACT("r8") EXACT("r9"))
    EXACTLY("33", "40", "23f", EXACT("r10") EXACT("r11"))
    LINE("b 7b")
    LEFT_AT("20", "0")
    LEFT_AT("21", "1")
    LEFT_AT("22", "2")
    LEFT_AT("23", "3")
    LEAVE);

__asm__(
    NRW_ASM_BEGIN("nrw_conv_add_two_dsp")
    ENTER
    LINE("1:")
    LINE("ldrd r4, r5, [sp, #40]")
    LINE("rsb r4, r4, #0")
    LINE("rsb r5, r5, #0")
    LINE("mov r8, r4")
    LINE("mov r9, r5")
    LINE("movs r6, #0")
    LINE("mov r7, r6")
    LINE("mov r10, r6")
    LINE("mov r11, r6")
    PRODUCTS_2
    EVEN_CHANNELS_2
    LINE("ldr r0, [sp, #32]")
    LINE("add lr, lr, r0")
    LINE("ldr r0, [sp, #24]")
    ADD("r4", "r6", "r8", "r10")
    LINE("str r0, [sp, #24]")
    LINE("ldr r0, [sp, #28]")
    ADD("r5", "r7", "r9", "r11")
    LINE("str r0, [sp, #28]")
    NEXT_GROUP
    LEAVE);

/* --- One pixel ----------------------------------------------------------------------------- *
 * r4: channel 0, or what its sum is made of; r6, r8, r10: the others. r12: window, lr: weights. */
#define PAIR_1(x)                      \
    LINE("ldrd r2, r3, [lr], #8")      \
    LINE("smlad r4, r2, " x ", r4")    \
    LINE("sxtb16 r2, r2, ror #8")      \
    LINE("smlad r8, r3, " x ", r8")    \
    LINE("sxtb16 r3, r3, ror #8")      \
    LINE("smlad r6, r2, " x ", r6")    \
    LINE("smlad r10, r3, " x ", r10")

#define STEP_1 PAIR_1("r0") PAIR_1("r1")

#define NEXT_1 LINE("ldrd r0, r1, [r12], #8")

__asm__(
    NRW_ASM_BEGIN("nrw_conv_sum_one_dsp")
    ENTER
    LINE("1:")
    UNLESS_BEGUN
    LINE("ldm r3!, {r4, r6, r8, r10}")
    LINE("str r3, [sp, #0]")
    LINE("b 5f")
    LINE("4:")
    BIASES
    LINE("add r4, r0, r6, lsl #8")
    LINE("add r8, r1, r10, lsl #8")
    LINE("5:")
    LINE("ldr r3, [sp, #40]")
    LINE("subs r4, r4, r3")
    LINE("sub r8, r8, r3")
    LINE("ldr r12, [sp, #16]")
    NEXT_1
    LINE("ldr pc, [sp, #20]")
    LINE(".balign 4")
    LINE("2:")
    STEP_1 NEXT_1 STEP_1 NEXT_1 STEP_1 NEXT_1 STEP_1
    LINE("ldrd r2, r3, [sp, #8]")
    LINE("cmp r12, r3")
    LINE("beq 5f")
    NEXT_1
    LINE("b 2b")
    LINE("5:")
    UNLESS_LEFT("16", "r4, r6, r8, r10")
    LINE("sub r4, r4, r6, lsl #8")
    LINE("sub r8, r8, r10, lsl #8")
    UNLESS_EXACT("30f")
    QUICKLY("4", "30f", QUICK("r4"))
    QUICKLY("16", "31f", QUICK("r6"))
    QUICKLY("28", "32f", QUICK("r8"))
    QUICKLY("40", "33f", QUICK("r10"))
    LINE("7:")
    NRW_PACK("r4", "r6", "r8", "r10")
    LINE("ldr r0, [sp, #60]")
    LINE("cbz r0, 6f")
    LINE("ldrd r0, r1, [sp, #52]")
    CLAMP("r4")
    LINE("6:")
    LINE("ldr r0, [sp, #24]")
    LINE("str r4, [r0], #4")
    LINE("str r0, [sp, #24]")
    LINE("adds r2, r2, #48")
    LINE("str r2, [sp, #8]")
    NEXT_GROUP
    LINE("b 8f")
    EXACTLY("30", "4", "20f", EXACT("r4"))
    EXACTLY("31", "16", "21f", EXACT("r6"))
    EXACTLY("32", "28", "22f", EXACT("r8"))
    EXACTLY("33", "40", "23f", EXACT("r10"))
    LINE("b 7b")
    LEFT_AT("20", "0")
    LEFT_AT("21", "1")
    LEFT_AT("22", "2")
    LEFT_AT("23", "3")
    LEAVE);

/* clang-format on */
