/* SPDX-License-Identifier: Apache-2.0 */
#include "taps_mve.h"

#include "asm_thumb.h"

/* Where the assembly finds the fields of its structure. */
typedef char nrw_tap_rows_are_known[sizeof(struct nrw_tap_rows) == 44 ? 1 : -1];

/* Taps that are padding, as many as a register says. */
#define LIST_PADDING(COUNT)          \
    "wls lr, " COUNT ", 2f\n"        \
    "1:\n"                           \
    "strd r4, r4, [r1, #-8]!\n"      \
    "add r4, r11\n"                  \
    "le lr, 1b\n"                    \
    "2:\n"

__asm__(
    NRW_ASM_BEGIN("nrw_list_taps")
    "push {r4-r11, lr}\n"
    "ldm.w r0, {r0, r1, r2, r3, r4, r6, r7, r8, r9, r10, r11}\n"
    "3:\n"
    "ldr r5, [r2], #4\n"
    "cbz r5, 5f\n"
    "add r5, r6\n"
    LIST_PADDING("r7")
    "wls lr, r8, 2f\n"
    "1:\n"
    "strd r5, r4, [r0], #8\n"
    "add r5, r10\n"
    "add r4, r11\n"
    "le lr, 1b\n"
    "2:\n"
    LIST_PADDING("r9")
    "4:\n"
    "subs r3, #1\n"
    "bne 3b\n"
    "pop {r4-r11, pc}\n"
    "5:\n"
    "add.w r5, r7, r8\n"
    "add r5, r9\n"
    LIST_PADDING("r5")
    "b 4b\n"
    NRW_ASM_END("nrw_list_taps"));

/* Negated sums of four channels each stand in q4 to q7, products of even channels in q2, of odd
 * ones in q3. r12 is 2^15. T is the loads' condition, which ONE announces for one of them and TWO
 * for two. */

/* From 16 to 32 bits, and into the sums. The upper halves of 32 bits are what VQDMLAH adds: twice
 * these bits by 2^15, without the lower 32 bits of that. */
#define WIDEN                        \
    "vmovlb.s16 q0, q2\n"            \
    "vadd.i32 q4, q4, q0\n"          \
    "vmovlb.s16 q1, q3\n"            \
    "vadd.i32 q5, q5, q1\n"          \
    "vqdmlah.s32 q6, q2, r12\n"      \
    "vqdmlah.s32 q7, q3, r12\n"
#define SUBTRACT                     \
    "vneg.s16 q2, q2\n"              \
    "vneg.s16 q3, q3\n"              \
    WIDEN

/* Two taps. The sum of their products is 32768 if all weights and inputs are -128. 16 bits make
 * that -32768, which no other sum is, and which is its own negative: so the negated sum is
 * right. */
#define PAIR(T, ONE, TWO)            \
    "ldm r1, {r4, r5, r6, r7}\n"     \
    TWO                              \
    "vldrb" T ".8 q0, [r4], #16\n"   \
    "vldrb" T ".8 q1, [r5], #16\n"   \
    "vmullb.s8 q2, q0, q1\n"         \
    "vmullt.s8 q3, q0, q1\n"         \
    TWO                              \
    "vldrb" T ".8 q0, [r6]\n"        \
    "vldrb" T ".8 q1, [r7], #16\n"   \
    "vmullb.s8 q0, q0, q1\n"         \
    "vadd.i16 q2, q2, q0\n"          \
    ONE                              \
    "vldrb" T ".8 q0, [r6], #16\n"   \
    "vmullt.s8 q0, q0, q1\n"         \
    "vadd.i16 q3, q3, q0\n"          \
    "stm r1!, {r4, r5, r6, r7}\n"    \
    SUBTRACT

/* All taps: pairs, one that is left, padding. */
#define TAPS(T, ONE, TWO)            \
    "lsrs r4, r2, #1\n"              \
    "wls lr, r4, 2f\n"               \
    "1:\n"                           \
    PAIR(T, ONE, TWO)                \
    "le lr, 1b\n"                    \
    "2:\n"                           \
    "bcc 3f\n"                       \
    "ldrd r4, r5, [r1]\n"            \
    TWO                              \
    "vldrb" T ".8 q0, [r4], #16\n"   \
    "vldrb" T ".8 q1, [r5], #16\n"   \
    "strd r4, r5, [r1], #8\n"        \
    "vmullb.s8 q2, q0, q1\n"         \
    "vmullt.s8 q3, q0, q1\n"         \
    SUBTRACT                         \
    "3:\n"                           \
    "wls lr, r3, 5f\n"               \
    "4:\n"                           \
    "ldr r5, [r1, #4]\n"             \
    "vdup.8 q0, r8\n"                \
    ONE                              \
    "vldrb" T ".8 q1, [r5], #16\n"   \
    "str r5, [r1, #4]\n"             \
    "adds r1, #8\n"                  \
    "vmullb.s8 q2, q0, q1\n"         \
    "vmullt.s8 q3, q0, q1\n"         \
    SUBTRACT                         \
    "le lr, 4b\n"                    \
    "5:\n"

/* Four channels, whose sums are in the register, before their zero point is added. q3 points 12
 * bytes before the channels. SHIFT: to q2, of what is in the register, its multipliers in q1. */
#define REQUANTIZE(SUMS, SHIFT)               \
    "vldrw.u32 q0, [q3, #12]!\n"              \
    "vldrw.u32 q1, [q3, #4]\n"                \
    "vldrw.u32 q2, [q3, #8]\n"                \
    "vsub.i32 " SUMS ", q0, " SUMS "\n"       \
    SHIFT(SUMS)
#define RIGHT_UP(SUMS)                        \
    "vqrdmulh.s32 " SUMS ", " SUMS ", q1\n"   \
    "vrshl.s32 " SUMS ", " SUMS ", q2\n"
#define RIGHT(SUMS)                           \
    "vqrdmulh.s32 " SUMS ", " SUMS ", q1\n"   \
    "vshr.s32 q0, " SUMS ", #31\n"            \
    "vadd.i32 " SUMS ", " SUMS ", q0\n"       \
    "vrshl.s32 " SUMS ", " SUMS ", q2\n"
#define ANY(SUMS)                             \
    "vshl.i32 q2, q2, #24\n"                  \
    "vshr.s32 q2, q2, #24\n"                  \
    "vpt.s32 gt, q2, zr\n"                    \
    "vshlt.s32 " SUMS ", " SUMS ", q2\n"      \
    "vqrdmulh.s32 " SUMS ", " SUMS ", q1\n"   \
    "vshr.s32 q0, " SUMS ", #31\n"            \
    "vptt.s32 lt, q2, zr\n"                   \
    "vaddt.i32 " SUMS ", " SUMS ", q0\n"      \
    "vrshlt.s32 " SUMS ", " SUMS ", q2\n"
#define REQUANTIZE_ALL(SHIFT)                 \
    REQUANTIZE("q4", SHIFT)                   \
    REQUANTIZE("q5", SHIFT)                   \
    REQUANTIZE("q6", SHIFT)                   \
    REQUANTIZE("q7", SHIFT)
#define NARROW                                \
    "vqmovnb.s32 q4, q4\n"                    \
    "vqmovnt.s32 q4, q6\n"                    \
    "vqmovnb.s32 q5, q5\n"                    \
    "vqmovnt.s32 q5, q7\n"

/* What FINISH wants in registers; r11 points to the rows. */
#define BEGIN_FINISH                          \
    "ldr r4, [r11]\n"                         \
    "vldrw.u32 q3, [r11, #56]\n"              \
    "subs r4, #12\n"                          \
    "vadd.i32 q3, q3, r4\n"
#define LOAD_FINISH                           \
    "ldrd r5, r6, [r11, #20]\n"               \
    "ldrd r7, r8, [r11, #48]\n"

/* Sums of 16 channels to output elements, to r0. What has been shifted to the right is small enough
 * for the zero point to be added last; any other sum is one modulo 2^32. */
#define FINISH                                \
    "cmp r6, #0\n"                            \
    "bne.w 7f\n"                              \
    REQUANTIZE_ALL(RIGHT_UP)                  \
    "8:\n"                                    \
    NARROW                                    \
    "vqadd.s16 q4, q4, r5\n"                  \
    "vqadd.s16 q5, q5, r5\n"                  \
    "9:\n"                                    \
    "vqmovnb.s16 q4, q4\n"                    \
    "vqmovnt.s16 q4, q5\n"                    \
    "vdup.8 q0, r7\n"                         \
    "vdup.8 q1, r8\n"                         \
    "vmax.s8 q4, q4, q0\n"                    \
    "vmin.s8 q4, q4, q1\n"                    \
    "vstrb.8 q4, [r0], #16\n"

/* The parts of FINISH that some channels need, behind the function's end. */
#define FINISH_OTHERS                         \
    "7:\n"                                    \
    "cmp r6, #1\n"                            \
    "bne 6f\n"                                \
    REQUANTIZE_ALL(RIGHT)                     \
    "b.w 8b\n"                                \
    "6:\n"                                    \
    REQUANTIZE_ALL(ANY)                       \
    "vadd.i32 q4, q4, r5\n"                   \
    "vadd.i32 q5, q5, r5\n"                   \
    "vadd.i32 q6, q6, r5\n"                   \
    "vadd.i32 q7, q7, r5\n"                   \
    NARROW                                    \
    "b.w 9b\n"

__asm__(
    NRW_ASM_BEGIN("nrw_add_taps")
    "push {r4-r8, lr}\n"
    "vpush {d8-d15}\n"
    "ldrd r8, r12, [sp, #88]\n"
    "vldrw.32 q4, [r0]\n"
    "vldrw.32 q5, [r0, #16]\n"
    "vldrw.32 q6, [r0, #32]\n"
    "vldrw.32 q7, [r0, #48]\n"
    "vctp.8 r12\n"
    "cmp r12, #16\n"
    "mov r12, #32768\n"
    "blo 6f\n"
    TAPS("", "", "")
    "b 7f\n"
    "6:\n"
    TAPS("t", "vpst\n", "vpstt\n")
    "7:\n"
    "vstrw.32 q4, [r0]\n"
    "vstrw.32 q5, [r0, #16]\n"
    "vstrw.32 q6, [r0, #32]\n"
    "vstrw.32 q7, [r0, #48]\n"
    "vpop {d8-d15}\n"
    "pop {r4-r8, pc}\n"
    NRW_ASM_END("nrw_add_taps"));

/* r9 points to the taps, r10 is the blocks that are left. The stack: 0 inside, 4 padding, 8 the
 * zero point, 16 where q3 begins; 32 saved registers; 132 blocks. */
__asm__(
    NRW_ASM_BEGIN("nrw_filter")
    "push {r4-r11, lr}\n"
    "vpush {d8-d15}\n"
    "sub sp, #32\n"
    "stm.w sp, {r1-r3}\n"
    "mov r9, r0\n"
    "ldrd r10, r11, [sp, #132]\n"
    "mov r12, #32768\n"
    "ldr r0, [r11, #4]\n"
    "10:\n"
    BEGIN_FINISH
    "vstrw.32 q3, [sp, #16]\n"
    "11:\n"
    "mov r1, r9\n"
    "ldm.w sp, {r2, r3, r8}\n"
    "vmov.i32 q4, #0\n"
    "vmov.i32 q5, #0\n"
    "vmov.i32 q6, #0\n"
    "vmov.i32 q7, #0\n"
    TAPS("", "", "")
    "vldrw.u32 q3, [sp, #16]\n"
    LOAD_FINISH
    FINISH
    "movs r1, #144\n"
    "vadd.i32 q3, q3, r1\n"
    "vstrw.32 q3, [sp, #16]\n"
    "subs r10, #1\n"
    "bne.w 11b\n"
    "ldr r1, [r11, #72]\n"
    "subs r1, #1\n"
    "beq 13f\n"
    "str r1, [r11, #72]\n"
    "ldr r10, [sp, #132]\n"
    "ldrd r4, r5, [r11, #76]\n"
    "sub r4, r4, r10, lsl #4\n"
    "sub r5, r5, r10, lsl #4\n"
    "add r0, r5\n"
    "lsl r5, r10, #4\n"
    "rsbs r5, r5, #0\n"
    "vmov q1[2], q1[0], r4, r4\n"
    "vmov q1[3], q1[1], r5, r5\n"
    "ldrd r2, r3, [sp]\n"
    "add r2, r3\n"
    "adds r2, #1\n"
    "lsrs r2, r2, #1\n"
    "mov r1, r9\n"
    "dls lr, r2\n"
    "12:\n"
    "vldrw.u32 q0, [r1]\n"
    "vadd.i32 q0, q0, q1\n"
    "vstrw.32 q0, [r1], #16\n"
    "le lr, 12b\n"
    "b 10b\n"
    "13:\n"
    "add sp, #32\n"
    "vpop {d8-d15}\n"
    "pop {r4-r11, pc}\n"
    FINISH_OTHERS
    NRW_ASM_END("nrw_filter"));

__asm__(
    NRW_ASM_BEGIN("nrw_finish_16")
    "push {r4-r11, lr}\n"
    "vpush {d8-d15}\n"
    "mov r11, r1\n"
    "vldrw.32 q4, [r0]\n"
    "vldrw.32 q5, [r0, #16]\n"
    "vldrw.32 q6, [r0, #32]\n"
    "vldrw.32 q7, [r0, #48]\n"
    "ldr r0, [r11, #4]\n"
    BEGIN_FINISH
    LOAD_FINISH
    FINISH
    "vpop {d8-d15}\n"
    "pop {r4-r11, pc}\n"
    FINISH_OTHERS
    NRW_ASM_END("nrw_finish_16"));
