/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Assembly that convolutions share: products of 16 inputs with four rows of weights, and the way from
 * sums to outputs.
 */
#ifndef NARROWS_TILE_MVE_H
#define NARROWS_TILE_MVE_H

#define NONE(INSTRUCTION)
#define BOTH(INSTRUCTION) INSTRUCTION

/* 16 inputs of two pixels by four rows of weights. T: the loads' condition, which FOUR and TWO
 * announce. 56 bytes, if there is none. */
#define CHUNK_2(T, FOUR, TWO)        \
    FOUR                             \
    "vldrb" T ".8 q0, [r9], #16\n"   \
    "vldrb" T ".8 q1, [r11], #16\n"  \
    "vldrb" T ".8 q2, [r3], #16\n"   \
    "vldrb" T ".8 q3, [r1], #16\n"   \
    "vmladava.s8 r0, q2, q0\n"       \
    "vmladava.s8 r8, q2, q1\n"       \
    "vmladava.s8 r2, q3, q0\n"       \
    "vmladava.s8 r10, q3, q1\n"      \
    TWO                              \
    "vldrb" T ".8 q2, [r5], #16\n"   \
    "vldrb" T ".8 q3, [r7], #16\n"   \
    "vmladava.s8 r4, q2, q0\n"       \
    "vmladava.s8 r12, q2, q1\n"      \
    "vmladava.s8 r6, q3, q0\n"       \
    "vmladava.s8 lr, q3, q1\n"

#define SUMS_2 "{r0, r2, r4, r6, r8, r10, r12, lr}"

/* The same of one pixel, whose inputs are at r9, in 36 bytes. */
#define WEIGHTS_1(T, POINTER, SUM)             \
    "vldrb" T ".8 q1, [" POINTER "], #16\n"   \
    "vmladava.s8 " SUM ", q1, q0\n"
#define CHUNK_1(T, ONE)                        \
    ONE                                        \
    "vldrb" T ".8 q0, [r9], #16\n"            \
    ONE                                        \
    WEIGHTS_1(T, "r3", "r0")                   \
    ONE                                        \
    WEIGHTS_1(T, "r1", "r2")                   \
    ONE                                        \
    WEIGHTS_1(T, "r5", "r4")                   \
    ONE                                        \
    WEIGHTS_1(T, "r7", "r6")

/* The sums of four channels in q0, and of another pixel in q1, to output elements. q5 points 48
 * bytes before the channels, r1 and r2 to the outputs; r5 is the zero point, r6 the rounding; q6
 * and q7 are the limits. SECOND: an instruction for q1, if there is a second pixel. */
#define FINISH(SECOND)                                 \
    "vldrw.u32 q2, [q5, #48]!\n"                       \
    "vldrw.u32 q3, [q5, #4]\n"                         \
    "vldrw.u32 q4, [q5, #8]\n"                         \
    "vadd.i32 q0, q0, q2\n"                            \
    SECOND("vadd.i32 q1, q1, q2\n")                    \
    "cbnz r6, 7f\n"                                    \
    "vqrdmulh.s32 q0, q0, q3\n"                        \
    SECOND("vqrdmulh.s32 q1, q1, q3\n")                \
    "8:\n"                                             \
    "vrshl.s32 q0, q0, q4\n"                           \
    SECOND("vrshl.s32 q1, q1, q4\n")                   \
    "9:\n"                                             \
    "vadd.i32 q0, q0, r5\n"                            \
    SECOND("vadd.i32 q1, q1, r5\n")                    \
    "vmax.s32 q0, q0, q6\n"                            \
    SECOND("vmax.s32 q1, q1, q6\n")                    \
    "vmin.s32 q0, q0, q7\n"                            \
    SECOND("vmin.s32 q1, q1, q7\n")                    \
    "vstrb.32 q0, [r1], #4\n"                          \
    SECOND("vstrb.32 q1, [r2], #4\n")

/* The parts of FINISH that some channels need, behind the function's end. T: a condition for the
 * instructions of SECOND. */
#define FINISH_OTHERS(T, SECOND)                       \
    "7:\n"                                             \
    "cmp r6, #1\n"                                     \
    "bne 6f\n"                                         \
    "vqrdmulh.s32 q0, q0, q3\n"                        \
    SECOND("vqrdmulh.s32 q1, q1, q3\n")                \
    "vshr.s32 q2, q0, #31\n"                           \
    SECOND("vshr.s32 q3, q1, #31\n")                   \
    "vadd.i32 q0, q0, q2\n"                            \
    SECOND("vadd.i32 q1, q1, q3\n")                    \
    "b.w 8b\n"                                         \
    "6:\n"                                             \
    "vshl.i32 q4, q4, #24\n"                           \
    "vshr.s32 q4, q4, #24\n"                           \
    "vpt" T ".s32 gt, q4, zr\n"                        \
    "vshlt.s32 q0, q0, q4\n"                           \
    SECOND("vshlt.s32 q1, q1, q4\n")                   \
    "vqrdmulh.s32 q0, q0, q3\n"                        \
    SECOND("vqrdmulh.s32 q1, q1, q3\n")                \
    "vshr.s32 q2, q0, #31\n"                           \
    SECOND("vshr.s32 q3, q1, #31\n")                   \
    "vpt" T ".s32 lt, q4, zr\n"                        \
    "vaddt.i32 q0, q0, q2\n"                           \
    SECOND("vaddt.i32 q1, q1, q3\n")                   \
    "vpt" T ".s32 lt, q4, zr\n"                        \
    "vrshlt.s32 q0, q0, q4\n"                          \
    SECOND("vrshlt.s32 q1, q1, q4\n")                  \
    "b.w 9b\n"

/* What FINISH wants in q5 to q7; r3 points to the rows. */
#define BEGIN_FINISH               \
    "ldr r7, [r3]\n"               \
    "vldrw.u32 q5, [r3, #56]\n"    \
    "subs r7, #48\n"               \
    "vadd.i32 q5, q5, r7\n"        \
    "ldrd r7, r8, [r3, #48]\n"     \
    "vdup.32 q6, r7\n"             \
    "vdup.32 q7, r8\n"

#endif
