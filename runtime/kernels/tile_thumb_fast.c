/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tile_blocked_fast.h in assembly for Thumb-2, of which every core has MUL, MLA, SMULL and SSAT.
 *
 * Channels of a ReLU that have a prescale are finished quickly, as finish_dsp.h says; SMULL's upper
 * word is what SMMLA takes there. Others are finished exactly: the upper word of 4 * sum and the
 * multiplier has all the bits that the first rounding needs. The sum is limited to what can be
 * multiplied so, which changes no output: with a multiplier of 2^30 or more and shifts to the right
 * of 19 or less, they are beyond int8 there. Channels that have others are odd.
 */
#include "tile_blocked_fast.h"

#include "thumb2.h"

#if NRW_THUMB2
#include "finish_thumb.h"

/* clang-format off */

/* A copy of the structure stands where sp points to, and behind it the next stretch (36) and the
 * end of a stretch's weights (40). lr: the weights. */
#define ENTER                          \
    LINE("push {r0, r4-r11, lr}")      \
    LINE("sub sp, sp, #12")            \
    LINE("ldm r0, {r1-r9}")            \
    LINE("push {r1-r9}")               \
    LINE("mov lr, r1")

/* Leaves with r3 finished channels of the group. */
#define LEAVE                          \
    LINE("9:")                         \
    LINE("ldr r0, [sp, #48]")          \
    LINE("ldrd r1, r2, [sp, #0]")      \
    LINE("strd r1, r2, [r0, #0]")      \
    LINE("ldrd r1, r2, [sp, #12]")     \
    LINE("strd r1, r2, [r0, #12]")     \
    LINE("str r3, [r0, #36]")          \
    LINE("add r0, r0, #40")            \
    LINE("stm r0, {r4-r11}")           \
    LINE("add sp, sp, #52")            \
    LINE("pop {r4-r11, pc}")

#define LEFT_AT(label, channels)       \
    LINE(label ":")                    \
    LINE("movs r3, #" channels)        \
    LINE("b 9b")

/* Goes to 2 for the next stretch, if there is one. */
#define NEXT_STRETCH                       \
    LINE("4:")                         \
    LINE("ldr r12, [sp, #36]")         \
    LINE("ldr r2, [sp, #24]")          \
    LINE("cmp r12, r2")                \
    LINE("bne.w 2b")

/* r2: the channels of the group, r3: the rounding. Goes to 30 unless they are a ReLU's. From
 * here on lr is free. */
#define FINISH                         \
    LINE("ldr r2, [sp, #4]")           \
    LINE("ldr r3, [sp, #28]")          \
    LINE("lsls r0, r3, #31")           \
    LINE("bne 30f")

/* The weights behind a stretch that was a part of a block: 16 bytes less those that have gone by,
 * which are three less than the stretch's kind. */
#define NEXT_BLOCK                     \
    LINE("ldr r12, [sp, #36]")         \
    LINE("ldr r12, [r12, #-4]")        \
    LINE("rsb r12, r12, #19")          \
    LINE("add lr, lr, r12")

/* Where a stretch goes by its kind: the loop takes four blocks at a time, of which the first time
 * some are left out, as if their weights had gone by. */
#define KINDS                                                            \
    LINE(".byte (19f - 3b) / 2, (11f - 3b) / 2")                         \
    LINE(".byte (17f - 3b) / 2, (18f - 3b) / 2")                         \
    LINE(".byte (12f - 3b) / 2, (12f - 3b) / 2, (12f - 3b) / 2, (13f - 3b) / 2") \
    LINE(".byte (41f - 3b) / 2, 0")                                      \
    LINE("19:")                                                          \
    LINE("b.w 10f")                                                      \
    LINE("41:")                                                          \
    LINE("b.w 40f")

#define BEGIN_AT(label, bytes, at)     \
    LINE(label ":")                    \
    LINE("add lr, lr, #" bytes)        \
    LINE("b.w " at)

#define BEGIN_BOTH_AT(label, bytes, at) \
    LINE(label ":")                    \
    LINE("add lr, lr, #" bytes)        \
    LINE("adds r1, r1, #" bytes)       \
    LINE("b.w " at)

/* A channel's sums to int8, quickly or from the label on exactly. r0: the multiplier, r12: what is
 * added to the upper word; r1: 4 times the prescale, or the shift less one. */
#define QUICKLY(at, exact)             \
    LINE("ldrd r0, r1, [r2, #" at "]") \
    NRW_QUICK_CHANNEL("r1", "r3", "r12", exact)

#define QUICK(sum) NRW_FINISH_BY_SMULL(sum, "r0", "r1", "r12")

#define EXACTLY(label, at, odd)        \
    LINE(label ":")                    \
    LINE("ldrd r0, r1, [r2, #" at "]") \
    LINE("tst r0, #0x40000000")        \
    LINE("beq " odd)                   \
    LINE("sxtb r1, r1")                \
    LINE("mvns r1, r1")                \
    LINE("cmp r1, #18")                \
    LINE("bhi " odd)                   \
    LINE("asr r12, r3, #12")           \
    LINE("lsl r12, r12, r1")           \
    LINE("add r12, r12, #1")

#define EXACT(sum)                                     \
    LINE("ssat " sum ", #30, " sum)                    \
    LINE("lsl " sum ", " sum ", #2")                   \
    LINE("smull lr, " sum ", " sum ", r0")             \
    LINE("asr lr, " sum ", #31")                       \
    LINE("add " sum ", " sum ", r12")                  \
    LINE("add " sum ", " sum ", lr, lsl #1")           \
    LINE("asr " sum ", " sum ", r1")                   \
    LINE("ssat " sum ", #8, " sum ", asr #2")

/* The next group, if there is one. */
#define NEXT_GROUP(channel_bytes)                      \
    LINE("add r2, r2, #" channel_bytes)                \
    LINE("ldr r0, [sp, #8]")                           \
    LINE("str r2, [sp, #4]")                           \
    LINE("ldr lr, [sp, #0]")                           \
    LINE("cmp r2, r0")                                 \
    LINE("blo.w 1b")                                     \
    LINE("movs r3, #8")

/* The elements of four blocks, each with its weights for four channels. The loop may begin behind
 * the first, second or third block, at 16, 15 or 14. */
#define SIXTEEN(ELEMENT)                                \
    ELEMENT("], #64", ", #-60]", ", #-56]", ", #-52]")  \
    ELEMENT(", #-63]", ", #-59]", ", #-55]", ", #-51]") \
    ELEMENT(", #-62]", ", #-58]", ", #-54]", ", #-50]") \
    ELEMENT(", #-61]", ", #-57]", ", #-53]", ", #-49]") \
    LINE("16:")                                         \
    ELEMENT(", #-48]", ", #-44]", ", #-40]", ", #-36]") \
    ELEMENT(", #-47]", ", #-43]", ", #-39]", ", #-35]") \
    ELEMENT(", #-46]", ", #-42]", ", #-38]", ", #-34]") \
    ELEMENT(", #-45]", ", #-41]", ", #-37]", ", #-33]") \
    LINE("15:")                                         \
    ELEMENT(", #-32]", ", #-28]", ", #-24]", ", #-20]") \
    ELEMENT(", #-31]", ", #-27]", ", #-23]", ", #-19]") \
    ELEMENT(", #-30]", ", #-26]", ", #-22]", ", #-18]") \
    ELEMENT(", #-29]", ", #-25]", ", #-21]", ", #-17]") \
    LINE("14:")                                         \
    ELEMENT(", #-16]", ", #-12]", ", #-8]", ", #-4]")   \
    ELEMENT(", #-15]", ", #-11]", ", #-7]", ", #-3]")   \
    ELEMENT(", #-14]", ", #-10]", ", #-6]", ", #-2]")   \
    ELEMENT(", #-13]", ", #-9]", ", #-5]", ", #-1]")

/* Three blocks of which the fourth elements are left out (NRW_STRETCH_THREES). */
#define THREE_THREES(ELEMENT)                                \
    ELEMENT("#1", "], #48", ", #-44]", ", #-40]", ", #-36]")  \
    ELEMENT("#1", ", #-47]", ", #-43]", ", #-39]", ", #-35]") \
    ELEMENT("#2", ", #-46]", ", #-42]", ", #-38]", ", #-34]") \
    ELEMENT("#1", ", #-32]", ", #-28]", ", #-24]", ", #-20]") \
    ELEMENT("#1", ", #-31]", ", #-27]", ", #-23]", ", #-19]") \
    ELEMENT("#2", ", #-30]", ", #-26]", ", #-22]", ", #-18]") \
    ELEMENT("#1", ", #-16]", ", #-12]", ", #-8]", ", #-4]")   \
    ELEMENT("#1", ", #-15]", ", #-11]", ", #-7]", ", #-3]")   \
    ELEMENT("#2", ", #-14]", ", #-10]", ", #-6]", ", #-2]")

/* --- Two pixels ---------------------------------------------------------------------------- *
 * r4 to r7: pixel 0's sums, r8 to r11: pixel 1's; r0, r1: their elements. */
#define ELEMENT_2(weight_0, weight_1, weight_2, weight_3) \
    ELEMENT_2_TO("#1", weight_0, weight_1, weight_2, weight_3)

/* step: to the next element. */
#define ELEMENT_2_TO(step, weight_0, weight_1, weight_2, weight_3) \
    LINE("ldrsb r2, [r0], " step)      \
    LINE("ldrsb r3, [r1], " step)      \
    LINE("ldrsb r12, [lr" weight_0)    \
    LINE("mla r4, r12, r2, r4")        \
    LINE("mla r8, r12, r3, r8")        \
    LINE("ldrsb r12, [lr" weight_1)    \
    LINE("mla r5, r12, r2, r5")        \
    LINE("mla r9, r12, r3, r9")        \
    LINE("ldrsb r12, [lr" weight_2)    \
    LINE("mla r6, r12, r2, r6")        \
    LINE("mla r10, r12, r3, r10")      \
    LINE("ldrsb r12, [lr" weight_3)    \
    LINE("mla r7, r12, r2, r7")        \
    LINE("mla r11, r12, r3, r11")

#define UNTIL_END_2                    \
    LINE("ldr r2, [sp, #40]")          \
    LINE("cmp lr, r2")

__asm__(
    NRW_ASM_BEGIN("nrw_tiles_of_two")
    ENTER
    LINE("1:")
    LINE("ldr r2, [sp, #4]")
    LINE("ldr r12, [sp, #20]")
    LINE("ldr r4, [r2, #0]")
    LINE("ldr r5, [r2, #12]")
    LINE("ldr r6, [r2, #24]")
    LINE("ldr r7, [r2, #36]")
    LINE("mov r8, r4")
    LINE("mov r9, r5")
    LINE("mov r10, r6")
    LINE("mov r11, r7")
    LINE("2:")
    LINE("ldm r12!, {r0-r3}")
    LINE("add r2, r2, lr")
    LINE("str r12, [sp, #36]")
    LINE("str r2, [sp, #40]")
    LINE("tbb [pc, r3]")
    LINE("3:")
    KINDS
    BEGIN_AT("11", "16", "14f")
    BEGIN_AT("17", "32", "15f")
    BEGIN_AT("18", "48", "16f")
    LINE("12:")
    ELEMENT_2("], #1", ", #3]", ", #7]", ", #11]")
    UNTIL_END_2
    LINE("bne 12b")
    NEXT_BLOCK
    LINE("b.w 4f")
    LINE("13:")
    ELEMENT_2("], #16", ", #-12]", ", #-8]", ", #-4]")
    UNTIL_END_2
    LINE("bne 13b")
    LINE("b.w 4f")
    LINE("40:")
    THREE_THREES(ELEMENT_2_TO)
    UNTIL_END_2
    LINE("bne.w 40b")
    LINE("b.w 4f")
    LINE("10:")
    SIXTEEN(ELEMENT_2)
    UNTIL_END_2
    LINE("bne.w 10b")
    NEXT_STRETCH
    LINE("str lr, [sp, #0]")
    FINISH
    QUICKLY("4", "30f") QUICK("r4") QUICK("r8")
    QUICKLY("16", "31f") QUICK("r5") QUICK("r9")
    QUICKLY("28", "32f") QUICK("r6") QUICK("r10")
    QUICKLY("40", "33f") QUICK("r7") QUICK("r11")
    LINE("7:")
    NRW_PACK("r4", "r5", "r6", "r7")
    NRW_PACK("r8", "r9", "r10", "r11")
    LINE("ldrd r0, r1, [sp, #12]")
    LINE("str r4, [r0], #4")
    LINE("str r8, [r1], #4")
    LINE("strd r0, r1, [sp, #12]")
    NEXT_GROUP("48")
    LEAVE
    EXACTLY("30", "4", "20f") EXACT("r4") EXACT("r8")
    EXACTLY("31", "16", "21f") EXACT("r5") EXACT("r9")
    EXACTLY("32", "28", "22f") EXACT("r6") EXACT("r10")
    EXACTLY("33", "40", "23f") EXACT("r7") EXACT("r11")
    LINE("b 7b")
    LEFT_AT("20", "0")
    LEFT_AT("21", "1")
    LEFT_AT("22", "2")
    LEFT_AT("23", "3")
    NRW_ASM_END("nrw_tiles_of_two"));

/* --- One pixel ----------------------------------------------------------------------------- *
 * r4 to r11: the sums; r0: elements, r1: the weights of the second four channels, r3: the end of
 * those of the first. */
#define ELEMENT_1(weight_0, weight_1, weight_2, weight_3) \
    ELEMENT_1_TO("#1", weight_0, weight_1, weight_2, weight_3)

#define ELEMENT_1_TO(step, weight_0, weight_1, weight_2, weight_3) \
    LINE("ldrsb r2, [r0], " step)      \
    LINE("ldrsb r12, [lr" weight_0)    \
    LINE("mla r4, r12, r2, r4")        \
    LINE("ldrsb r12, [r1" weight_0)    \
    LINE("mla r8, r12, r2, r8")        \
    LINE("ldrsb r12, [lr" weight_1)    \
    LINE("mla r5, r12, r2, r5")        \
    LINE("ldrsb r12, [r1" weight_1)    \
    LINE("mla r9, r12, r2, r9")        \
    LINE("ldrsb r12, [lr" weight_2)    \
    LINE("mla r6, r12, r2, r6")        \
    LINE("ldrsb r12, [r1" weight_2)    \
    LINE("mla r10, r12, r2, r10")      \
    LINE("ldrsb r12, [lr" weight_3)    \
    LINE("mla r7, r12, r2, r7")        \
    LINE("ldrsb r12, [r1" weight_3)    \
    LINE("mla r11, r12, r2, r11")

__asm__(
    NRW_ASM_BEGIN("nrw_tiles_of_one")
    ENTER
    LINE("1:")
    LINE("ldr r2, [sp, #4]")
    LINE("ldr r1, [sp, #32]")
    LINE("ldr r12, [sp, #20]")
    LINE("add r1, r1, lr")
    LINE("ldr r4, [r2, #0]")
    LINE("ldr r5, [r2, #12]")
    LINE("ldr r6, [r2, #24]")
    LINE("ldr r7, [r2, #36]")
    LINE("ldr r8, [r2, #48]")
    LINE("ldr r9, [r2, #60]")
    LINE("ldr r10, [r2, #72]")
    LINE("ldr r11, [r2, #84]")
    LINE("2:")
    LINE("ldr r0, [r12, #0]")
    LINE("ldrd r3, r2, [r12, #8]")
    LINE("adds r12, r12, #16")
    LINE("str r12, [sp, #36]")
    LINE("add r3, r3, lr")
    LINE("tbb [pc, r2]")
    LINE("3:")
    KINDS
    BEGIN_BOTH_AT("11", "16", "14f")
    BEGIN_BOTH_AT("17", "32", "15f")
    BEGIN_BOTH_AT("18", "48", "16f")
    LINE("12:")
    ELEMENT_1("], #1", ", #3]", ", #7]", ", #11]")
    LINE("cmp lr, r3")
    LINE("bne 12b")
    NEXT_BLOCK
    LINE("add r1, r1, r12")
    LINE("b.w 4f")
    LINE("13:")
    ELEMENT_1("], #16", ", #-12]", ", #-8]", ", #-4]")
    LINE("cmp lr, r3")
    LINE("bne 13b")
    LINE("b.w 4f")
    LINE("40:")
    THREE_THREES(ELEMENT_1_TO)
    LINE("cmp lr, r3")
    LINE("bne.w 40b")
    LINE("b.w 4f")
    LINE("10:")
    SIXTEEN(ELEMENT_1)
    LINE("cmp lr, r3")
    LINE("bne.w 10b")
    NEXT_STRETCH
    LINE("str r1, [sp, #0]")
    FINISH
    QUICKLY("4", "30f") QUICK("r4")
    QUICKLY("16", "31f") QUICK("r5")
    QUICKLY("28", "32f") QUICK("r6")
    QUICKLY("40", "33f") QUICK("r7")
    QUICKLY("52", "34f") QUICK("r8")
    QUICKLY("64", "35f") QUICK("r9")
    QUICKLY("76", "36f") QUICK("r10")
    QUICKLY("88", "37f") QUICK("r11")
    LINE("7:")
    NRW_PACK("r4", "r5", "r6", "r7")
    NRW_PACK("r8", "r9", "r10", "r11")
    LINE("ldr r0, [sp, #12]")
    LINE("str r4, [r0], #4")
    LINE("str r8, [r0], #4")
    LINE("str r0, [sp, #12]")
    NEXT_GROUP("96")
    LEAVE
    EXACTLY("30", "4", "20f") EXACT("r4")
    EXACTLY("31", "16", "21f") EXACT("r5")
    EXACTLY("32", "28", "22f") EXACT("r6")
    EXACTLY("33", "40", "23f") EXACT("r7")
    EXACTLY("34", "52", "24f") EXACT("r8")
    EXACTLY("35", "64", "25f") EXACT("r9")
    EXACTLY("36", "76", "26f") EXACT("r10")
    EXACTLY("37", "88", "27f") EXACT("r11")
    LINE("b 7b")
    LEFT_AT("20", "0")
    LEFT_AT("21", "1")
    LEFT_AT("22", "2")
    LEFT_AT("23", "3")
    LEFT_AT("24", "4")
    LEFT_AT("25", "5")
    LEFT_AT("26", "6")
    LEFT_AT("27", "7")
    NRW_ASM_END("nrw_tiles_of_one"));

/* clang-format on */

#endif
