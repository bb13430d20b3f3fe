/* SPDX-License-Identifier: Apache-2.0 */
#include "asm_thumb.h"
#include "dot_mve.h"
#include "tile_mve.h"

/* Runs of inputs, each up to twelve vectors long, without a loop: a run's products begin
 * so many vectors before its block of instructions ends. So nothing has to be counted, and sums and
 * pointers may take all registers. */

/* Where the assembly finds the fields of its structure. */
typedef char nrw_whole_rows_are_known[sizeof(struct nrw_rows) == 92 ? 1 : -1];
typedef char nrw_whole_runs_are_known[NRW_WHOLE_RUNS == 3 && NRW_WHOLE == 12 * 16 ? 1 : -1];

/* --- Two pixels ------------------------------------------------------------------------------- */

/* The stack: 0 sums; 32 the runs, of which the last one is the third; 64 where the products of each
 * begin, 76 those of the first; 80 rows; 84 bytes of a row of weights; 88 the end of all; 92 the
 * outputs; 100 zero point and rounding; 108 what the last vector of a row lacks; 112 from the end of
 * a pair's outputs to the next one's. */

/* The products of a run: INPUTS and JUMP are where it and its beginning stand on the stack. */
#define RUN(BEGIN, END, INPUTS, JUMP)          \
    BEGIN ":\n"                                \
    "ldrd r9, r11, [sp, #" INPUTS "]\n"        \
    "ldr.w pc, [sp, #" JUMP "]\n"              \
    ".rept 12\n"                               \
    CHUNK_2("", "", "")                        \
    ".endr\n"                                  \
    END ":\n"

/* To the stack where a run's products begin. r2: bytes of their instructions. */
#define BEGIN_RUN(END, JUMP)                   \
    "adr.w r3, " END "f\n"                     \
    "subs r3, r2\n"                            \
    "orr r3, r3, #1\n"                         \
    "str r3, [sp, #" JUMP "]\n"

__asm__(
    NRW_ASM_BEGIN("nrw_convolve_whole_2")
    "push {r4-r11, lr}\n"
    "vpush {d8-d15}\n"
    "sub sp, #120\n"
    "ldr r1, [r0, #44]\n"
    "lsrs r2, r1, #4\n"
    "movs r3, #56\n"
    "muls r2, r3\n"
    BEGIN_RUN("31", "64")
    BEGIN_RUN("32", "68")
    BEGIN_RUN("33", "72")
    "ldrd r4, r5, [r0, #84]\n"
    "adr.w r2, 23f\n"
    "cmp r5, #2\n"
    "it eq\n"
    "adreq.w r2, 22f\n"
    "it hi\n"
    "adrhi.w r2, 21f\n"
    "adds r2, #1\n"
    "strd r2, r0, [sp, #76]\n"
    "rsb r6, r5, #3\n"
    "add r6, sp, r6, lsl #3\n"
    "dls lr, r5\n"
    "1:\n"
    "ldrd r7, r8, [r4], #8\n"
    "strd r7, r8, [r6, #32]\n"
    "adds r6, #8\n"
    "le lr, 1b\n"
    "ands r1, r1, #15\n"
    "vctp.8 r1\n"
    "rsb r1, r1, #16\n"
    "ldm r0, {r2, r4, r5, r7, r8, r9, r10, r11}\n"
    "strd r4, r5, [sp, #92]\n"
    "strd r9, r10, [sp, #100]\n"
    "mul r3, r8, r11\n"
    "add r3, r7, r3, lsl #2\n"
    "strd r11, r3, [sp, #84]\n"
    "ldr r3, [r0, #80]\n"
    "sub r3, r3, r8, lsl #2\n"
    "strd r1, r3, [sp, #108]\n"
    "vldrw.u32 q5, [r0, #56]\n"
    "subs r2, #48\n"
    "vadd.i32 q5, q5, r2\n"
    "ldrd r1, r2, [r0, #48]\n"
    "vdup.32 q6, r1\n"
    "vdup.32 q7, r2\n"
    "mov r3, r7\n"
    "1:\n"
    "ldr r0, [sp, #84]\n"
    "add r1, r3, r0\n"
    "add r5, r1, r0\n"
    "add r7, r5, r0\n"
    "adr.w lr, 10f\n"
    "lsls r0, r0, #28\n"
    "ldm.w lr, " SUMS_2 "\n"
    "ldr.w pc, [sp, #76]\n"
    RUN("21", "31", "32", "64")
    RUN("22", "32", "40", "68")
    RUN("23", "33", "48", "72")
    "beq 2f\n"
    CHUNK_2("t", "vpstttt\n", "vpstt\n")
    "ldr r3, [sp, #108]\n"
    "subs r7, r7, r3\n"
    "2:\n"
    "stm.w sp, " SUMS_2 "\n"
    "vldrw.u32 q0, [sp]\n"
    "vldrw.u32 q1, [sp, #16]\n"
    "ldrd r1, r2, [sp, #92]\n"
    "ldrd r5, r6, [sp, #100]\n"
    FINISH(BOTH)
    "mov r3, r7\n"
    "ldr r0, [sp, #88]\n"
    "strd r1, r2, [sp, #92]\n"
    "cmp r3, r0\n"
    "bne.w 1b\n"
    "ldr r4, [sp, #80]\n"
    "ldrd r0, r5, [r4, #72]\n"
    "subs r0, #1\n"
    "bne 3f\n"
    "add sp, #120\n"
    "vpop {d8-d15}\n"
    "pop {r4-r11, pc}\n"
    FINISH_OTHERS("t", BOTH)
    "3:\n"
    "str r0, [r4, #72]\n"
    "ldr r0, [sp, #112]\n"
    "add r1, r0\n"
    "add r2, r0\n"
    "strd r1, r2, [sp, #92]\n"
    "vldrw.u32 q0, [sp, #32]\n"
    "vldrw.u32 q1, [sp, #48]\n"
    "vadd.i32 q0, q0, r5\n"
    "vadd.i32 q1, q1, r5\n"
    "vstrw.32 q0, [sp, #32]\n"
    "vstrw.32 q1, [sp, #48]\n"
    "ldr r3, [r4, #12]\n"
    "ldr r2, [r4]\n"
    "vldrw.u32 q5, [r4, #56]\n"
    "subs r2, #48\n"
    "vadd.i32 q5, q5, r2\n"
    "b.w 1b\n"
    ".p2align 2\n"
    "10:\n"
    ".zero 32\n"
    NRW_ASM_END("nrw_convolve_whole_2"));

/* --- One pixel -------------------------------------------------------------------------------- */

/* r8 points to the next run, r11 to the end of all; r12 is the bytes of a row of weights, lr the
 * groups that are left. The place of the second pixel's inputs has the bytes of a run, and then
 * where its products begin. The stack: 0 the first run, 4 the output, 8 zero point and rounding. */
__asm__(
    NRW_ASM_BEGIN("nrw_convolve_whole_1")
    "push {r4-r11, lr}\n"
    "vpush {d8-d15}\n"
    "sub sp, #16\n"
    "ldrd r4, r5, [r0, #84]\n"
    "adr.w r10, 4f\n"
    "adds.w r10, r10, #1\n"
    "mov r11, r4\n"
    "movs r3, #36\n"
    "dls lr, r5\n"
    "1:\n"
    "ldr r1, [r11, #4]\n"
    "lsrs r2, r1, #4\n"
    "mls r2, r2, r3, r10\n"
    "str r2, [r11, #4]\n"
    "adds.w r11, r11, #8\n"
    "le lr, 1b\n"
    "ands r1, r1, #15\n"
    "vctp.8 r1\n"
    "ldr r5, [r0, #4]\n"
    "strd r4, r5, [sp]\n"
    "ldrd r3, lr, [r0, #12]\n"
    "ldrd r1, r2, [r0, #20]\n"
    "strd r1, r2, [sp, #8]\n"
    "ldr r12, [r0, #28]\n"
    "vldrw.u32 q5, [r0, #56]\n"
    "ldr r2, [r0]\n"
    "subs r2, #48\n"
    "vadd.i32 q5, q5, r2\n"
    "ldrd r1, r2, [r0, #48]\n"
    "vdup.32 q6, r1\n"
    "vdup.32 q7, r2\n"
    "1:\n"
    "movs r0, #0\n"
    "movs r2, #0\n"
    "movs r4, #0\n"
    "movs r6, #0\n"
    "add r1, r3, r12\n"
    "add r5, r1, r12\n"
    "add r7, r5, r12\n"
    "ldr.w r8, [sp]\n"
    "2:\n"
    "ldrd r9, r10, [r8], #8\n"
    "bx r10\n"
    ".rept 12\n"
    CHUNK_1("", "")
    ".endr\n"
    "4:\n"
    "cmp r8, r11\n"
    "bne.w 2b\n"
    "lsls.w r8, r12, #28\n"
    "beq 5f\n"
    CHUNK_1("t", "vpst\n")
    "subs r7, #16\n"
    "add.w r7, r7, r8, lsr #28\n"
    "5:\n"
    "vmov q0[2], q0[0], r0, r4\n"
    "vmov q0[3], q0[1], r2, r6\n"
    "ldr r1, [sp, #4]\n"
    "ldrd r5, r6, [sp, #8]\n"
    FINISH(NONE)
    "str r1, [sp, #4]\n"
    "mov r3, r7\n"
    "le lr, 1b\n"
    "add sp, #16\n"
    "vpop {d8-d15}\n"
    "pop {r4-r11, pc}\n"
    FINISH_OTHERS("", NONE)
    NRW_ASM_END("nrw_convolve_whole_1"));
