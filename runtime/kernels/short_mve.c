/* SPDX-License-Identifier: Apache-2.0 */
#include "asm_thumb.h"
#include "dot_mve.h"

/* Where the assembly finds the fields of its structure. */
typedef char nrw_short_rows_are_known[sizeof(struct nrw_rows) == 92 ? 1 : -1];

/* --- Two pixels ------------------------------------------------------------------------------- */

/* Sums of four channels of two pixels, which stand in even registers. */
#define SUMS "{r0, r2, r4, r6, r8, r10, r12, lr}"

/* Their inputs stay in q0 and q1, and in q2 and q3 of the second pixel. r1 and r3 point to two
 * rows of weights, r9 is the way to the next two, r11 the zero point, r5 and r7 point to the
 * outputs, q7 48 bytes before the channels. VPR says which inputs there are of the last 16, or
 * fewer. Rows of 16 and of 32 are read one behind another, and rows of 16 leave room for the
 * limits in q1 and q3. */

/* Loads of the inputs, from r6 and r10. */
#define LOAD_32(T, TWO)                      \
    "vldrb.8 q0, [r6]\n"                     \
    "vldrb.8 q2, [r10]\n"                    \
    TWO                                      \
    "vldrb" T ".8 q1, [r6, #16]\n"           \
    "vldrb" T ".8 q3, [r10, #16]\n"
#define LOAD_16(T, TWO)                      \
    TWO                                      \
    "vldrb" T ".8 q0, [r6]\n"                \
    "vldrb" T ".8 q2, [r10]\n"

/* Two rows of weights: up to 32, 32, up to 16, and 16 inputs. A0: the sum of the first row and
 * pixel. */
#define ROWS_TO_32(A0, A1, B0, B1)           \
    "vldrb.8 q4, [r1]\n"                     \
    "vpstt\n"                                \
    "vldrbt.8 q5, [r1, #16]\n"               \
    "vldrbt.8 q6, [r3, #16]\n"               \
    "add r1, r9\n"                           \
    "vmladav.s8 " A0 ", q4, q0\n"            \
    "vmladav.s8 " A1 ", q4, q2\n"            \
    "vmladava.s8 " A0 ", q5, q1\n"           \
    "vmladava.s8 " A1 ", q5, q3\n"           \
    "vldrb.8 q4, [r3]\n"                     \
    "add r3, r9\n"                           \
    "vmladav.s8 " B0 ", q4, q0\n"            \
    "vmladav.s8 " B1 ", q4, q2\n"            \
    "vmladava.s8 " B0 ", q6, q1\n"           \
    "vmladava.s8 " B1 ", q6, q3\n"
#define ROW_OF_32(A0, A1)                    \
    "vldrb.8 q4, [r1], #16\n"                \
    "vldrb.8 q5, [r1], #16\n"                \
    "vmladav.s8 " A0 ", q4, q0\n"            \
    "vmladav.s8 " A1 ", q4, q2\n"            \
    "vmladava.s8 " A0 ", q5, q1\n"           \
    "vmladava.s8 " A1 ", q5, q3\n"
#define ROWS_OF_32(A0, A1, B0, B1) ROW_OF_32(A0, A1) ROW_OF_32(B0, B1)
#define PRODUCTS_16(A0, A1, B0, B1)          \
    "vmladav.s8 " A0 ", q4, q0\n"            \
    "vmladav.s8 " A1 ", q4, q2\n"            \
    "vmladav.s8 " B0 ", q5, q0\n"            \
    "vmladav.s8 " B1 ", q5, q2\n"
#define ROWS_TO_16(A0, A1, B0, B1)           \
    "vpstt\n"                                \
    "vldrbt.8 q4, [r1]\n"                    \
    "vldrbt.8 q5, [r3]\n"                    \
    "add r1, r9\n"                           \
    "add r3, r9\n"                           \
    PRODUCTS_16(A0, A1, B0, B1)
#define ROWS_OF_16(A0, A1, B0, B1)           \
    "vldrb.8 q4, [r1], #16\n"                \
    "vldrb.8 q5, [r1], #16\n"                \
    PRODUCTS_16(A0, A1, B0, B1)

/* What negative numbers lose before they are shifted to the right. */
#define DOWN                                 \
    "vshr.s32 q6, q4, #31\n"                 \
    "vadd.i32 q4, q4, q6\n"                  \
    "vshr.s32 q6, q5, #31\n"                 \
    "vadd.i32 q5, q5, q6\n"

#define LIMIT(OPERATION, LOAD, LIMITS)       \
    LOAD                                     \
    OPERATION " q4, q4, " LIMITS "\n"        \
    OPERATION " q5, q5, " LIMITS "\n"
#define LIMITS_32                            \
    LIMIT("vmax.s32", "vldrw.u32 q6, [sp, #32]\n", "q6") \
    LIMIT("vmin.s32", "vldrw.u32 q6, [sp, #48]\n", "q6")
#define LIMITS_16 LIMIT("vmax.s32", "", "q1") LIMIT("vmin.s32", "", "q3")

/* All groups of two pixels. */
#define SHORT_GROUPS(LOADS, TWO_ROWS, ROUND, LIMITS) \
    LOADS                                    \
    "1:\n"                                   \
    TWO_ROWS("r0", "r8", "r2", "r10")        \
    TWO_ROWS("r4", "r12", "r6", "lr")        \
    "stm.w sp, " SUMS "\n"                 \
    "vldrw.u32 q4, [sp]\n"                   \
    "vldrw.u32 q5, [sp, #16]\n"              \
    "vldrw.u32 q6, [q7, #48]!\n"             \
    "vadd.i32 q4, q4, q6\n"                  \
    "vadd.i32 q5, q5, q6\n"                  \
    "vldrw.u32 q6, [q7, #4]\n"               \
    "vqrdmulh.s32 q4, q4, q6\n"              \
    "vqrdmulh.s32 q5, q5, q6\n"              \
    ROUND                                    \
    "vldrw.u32 q6, [q7, #8]\n"               \
    "vrshl.s32 q4, q4, q6\n"                 \
    "vrshl.s32 q5, q5, q6\n"                 \
    "vadd.i32 q4, q4, r11\n"                 \
    "vadd.i32 q5, q5, r11\n"                 \
    LIMITS                                   \
    "vstrb.32 q4, [r5], #4\n"                \
    "vstrb.32 q5, [r7], #4\n"                \
    "ldr r0, [sp, #64]\n"                    \
    "cmp r1, r0\n"                           \
    "bne.w 1b\n"                             \
    "b.w 9b\n"

/* The stack: 0 sums, 32 and 48 the limits, 64 the weights' end, 68 rows, 72 code for such rows,
 * 80 what q7 begins with. */
__asm__(
    NRW_ASM_BEGIN("nrw_convolve_short_2")
    "push {r4-r11, lr}\n"
    "vpush {d8-d15}\n"
    "sub sp, #96\n"
    "str r0, [sp, #68]\n"
    "ldrd r2, r4, [r0, #48]\n"
    "vdup.32 q1, r2\n"
    "vdup.32 q3, r4\n"
    "vstrw.32 q1, [sp, #32]\n"
    "vstrw.32 q3, [sp, #48]\n"
    "vldrw.u32 q7, [r0, #56]\n"
    "ldr r2, [r0]\n"
    "subs r2, #48\n"
    "vadd.i32 q7, q7, r2\n"
    "vstrw.32 q7, [sp, #80]\n"
    "ldrd r1, r2, [r0, #12]\n"
    "ldrd r11, r6, [r0, #20]\n"
    "ldr r9, [r0, #28]\n"
    "lsl r9, r9, #1\n"
    "mul r2, r2, r9\n"
    "add r2, r1, r2, lsl #1\n"
    "str r2, [sp, #64]\n"
    "ldr r8, [r0, #44]\n"
    "cmp r8, #16\n"
    "bhi 3f\n"
    "vctp.8 r8\n"
    "ite eq\n"
    "adreq.w r2, 12f\n"
    "adrne.w r2, 10f\n"
    "b 4f\n"
    "3:\n"
    "sub r4, r8, #16\n"
    "vctp.8 r4\n"
    "cmp r8, #32\n"
    "ite eq\n"
    "adreq.w r2, 16f\n"
    "adrne.w r2, 14f\n"
    "4:\n"
    "ldrd r4, r3, [r2]\n"
    "cmp r6, #0\n"
    "it ne\n"
    "movne r4, r3\n"
    "add r2, r4\n"
    "adds r2, #1\n"
    "str r2, [sp, #72]\n"
    "ldrd r5, r7, [r0, #4]\n"
    "ldr r6, [r0, #32]\n"
    "ldr r10, [r0, #40]\n"
    "b 8f\n"
    "9:\n"
    "ldr r0, [sp, #68]\n"
    "ldr r8, [r0, #72]\n"
    "subs r8, #1\n"
    "beq 7f\n"
    "str r8, [r0, #72]\n"
    "ldrd r2, r4, [r0, #76]\n"
    "ldrd r5, r7, [r0, #4]\n"
    "ldr r6, [r0, #32]\n"
    "ldr r10, [r0, #40]\n"
    "add r5, r4\n"
    "add r7, r4\n"
    "add r6, r2\n"
    "add r10, r2\n"
    "strd r5, r7, [r0, #4]\n"
    "str r6, [r0, #32]\n"
    "str r10, [r0, #40]\n"
    "8:\n"
    "ldr r1, [r0, #12]\n"
    "add r3, r1, r9, lsr #1\n"
    "vldrw.u32 q7, [sp, #80]\n"
    "ldr.w pc, [sp, #72]\n"
    "7:\n"
    "add sp, #96\n"
    "vpop {d8-d15}\n"
    "pop {r4-r11, pc}\n"
    ".p2align 2\n"
    "10: .word 20f - 10b, 21f - 10b\n"
    "12: .word 22f - 12b, 23f - 12b\n"
    "14: .word 24f - 14b, 25f - 14b\n"
    "16: .word 26f - 16b, 27f - 16b\n"
    "20:\n" SHORT_GROUPS(LOAD_16("t", "vpstt\n"), ROWS_TO_16, "", LIMITS_16)
    "21:\n" SHORT_GROUPS(LOAD_16("t", "vpstt\n"), ROWS_TO_16, DOWN, LIMITS_16)
    "22:\n" SHORT_GROUPS(LOAD_16("", ""), ROWS_OF_16, "", LIMITS_16)
    "23:\n" SHORT_GROUPS(LOAD_16("", ""), ROWS_OF_16, DOWN, LIMITS_16)
    "24:\n" SHORT_GROUPS(LOAD_32("t", "vpstt\n"), ROWS_TO_32, "", LIMITS_32)
    "25:\n" SHORT_GROUPS(LOAD_32("t", "vpstt\n"), ROWS_TO_32, DOWN, LIMITS_32)
    "26:\n" SHORT_GROUPS(LOAD_32("", ""), ROWS_OF_32, "", LIMITS_32)
    "27:\n" SHORT_GROUPS(LOAD_32("", ""), ROWS_OF_32, DOWN, LIMITS_32)
    NRW_ASM_END("nrw_convolve_short_2"));

/* --- One pixel -------------------------------------------------------------------------------- */

/* The inputs stay in q0 to q3. r3 points to the weights, which are read one row behind another, r1
 * to the output; r5 is the zero point, r7 the rounding, lr the groups that are left; q5 points 48
 * bytes before the channels. q7 and the stack have the limits. */
#define FIRST_OF_ROW(SUM)                    \
    "vldrb.8 q4, [r3], #16\n"               \
    "vmladav.s8 " SUM ", q4, q0\n"
#define NEXT_OF_ROW(SUM, WEIGHTS, IN)        \
    "vldrb.8 " WEIGHTS ", [r3], #16\n"      \
    "vmladava.s8 " SUM ", " WEIGHTS ", " IN "\n"
#define ROW_1(SUM) FIRST_OF_ROW(SUM)
#define ROW_2(SUM) ROW_1(SUM) NEXT_OF_ROW(SUM, "q6", "q1")
#define ROW_3(SUM) ROW_2(SUM) NEXT_OF_ROW(SUM, "q4", "q2")
#define ROW_4(SUM) ROW_3(SUM) NEXT_OF_ROW(SUM, "q6", "q3")
#define SINGLE_GROUPS(ROW)                   \
    "1:\n"                                  \
    ROW("r0") ROW("r2") ROW("r4") ROW("r6")  \
    "vmov q4[2], q4[0], r0, r4\n"           \
    "vmov q4[3], q4[1], r2, r6\n"           \
    "vldrw.u32 q6, [q5, #48]!\n"            \
    "vadd.i32 q4, q4, q6\n"                 \
    "vldrw.u32 q6, [q5, #4]\n"              \
    "vqrdmulh.s32 q4, q4, q6\n"             \
    "cbnz r7, 3f\n"                         \
    "2:\n"                                  \
    "vldrw.u32 q6, [q5, #8]\n"              \
    "vrshl.s32 q4, q4, q6\n"                \
    "vadd.i32 q4, q4, r5\n"                 \
    "vmax.s32 q4, q4, q7\n"                 \
    "vldrw.u32 q6, [sp]\n"                  \
    "vmin.s32 q4, q4, q6\n"                 \
    "vstrb.32 q4, [r1], #4\n"               \
    "le lr, 1b\n"                           \
    "b.w 9f\n"                              \
    "3:\n"                                  \
    "vshr.s32 q6, q4, #31\n"                \
    "vadd.i32 q4, q4, q6\n"                 \
    "b 2b\n"

__asm__(
    NRW_ASM_BEGIN("nrw_convolve_short_1")
    "push {r4-r7, lr}\n"
    "vpush {d8-d15}\n"
    "sub sp, #20\n"
    "ldr r1, [r0]\n"
    "subs r1, #48\n"
    "vldrw.u32 q5, [r0, #56]\n"
    "vadd.i32 q5, q5, r1\n"
    "ldrd r1, r2, [r0, #48]\n"
    "vdup.32 q7, r1\n"
    "vdup.32 q6, r2\n"
    "vstrw.32 q6, [sp]\n"
    "ldr r1, [r0, #4]\n"
    "ldrd r3, lr, [r0, #12]\n"
    "ldrd r5, r7, [r0, #20]\n"
    "ldr r4, [r0, #32]\n"
    "ldr r2, [r0, #44]\n"
    "vldrb.8 q0, [r4]\n"
    "cmp r2, #32\n"
    "blo 10f\n"
    "vldrb.8 q1, [r4, #16]\n"
    "beq 20f\n"
    "vldrb.8 q2, [r4, #32]\n"
    "cmp r2, #64\n"
    "blo 30f\n"
    "vldrb.8 q3, [r4, #48]\n"
    SINGLE_GROUPS(ROW_4)
    "30:\n" SINGLE_GROUPS(ROW_3)
    "20:\n" SINGLE_GROUPS(ROW_2)
    "10:\n" SINGLE_GROUPS(ROW_1)
    "9:\n"
    "add sp, #20\n"
    "vpop {d8-d15}\n"
    "pop {r4-r7, pc}\n"
    NRW_ASM_END("nrw_convolve_short_1"));
