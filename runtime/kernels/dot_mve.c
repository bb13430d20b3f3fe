/* SPDX-License-Identifier: Apache-2.0 */
#include "dot_mve.h"

#include "asm_thumb.h"
#include "tile_mve.h"

/* Sums stand in even registers, as VMLADAVA asks for, pointers in odd ones. */

/* Where the assembly finds the fields of its structures. */
typedef char nrw_rows_are_known[sizeof(struct nrw_rows) == 92 ? 1 : -1];
typedef char nrw_products_are_known[sizeof(struct nrw_products) == 32 ? 1 : -1];

/* What moves on from group to group stands first in the rows, and is in the same registers. */
#define ROWS "{r0, r1, r2, r3, r4, r5, r6, r7, r9, r10, r11}"
#define MOVED "{r0, r1, r2, r3, r4}"

/* All chunks of a group. Eight stand behind each other, and the first time through some of them are
 * jumped over: so no register is needed to count. What is left to do stands in the flags: NE, go
 * through all of them again; CS, there is a last chunk of less than 16 inputs. The stack: 8 twice
 * the passes that are left, and 1 more for the last chunk; 12 room for a register; 16 inputs of the
 * last chunk; 20 what stands at 8 before a group. */
#define CHUNKS                    \
    "2:\n"                        \
    ".rept 8\n"                   \
    CHUNK_2("", "", "")           \
    ".endr\n"                     \
    "3:\n"                        \
    "bne 5f\n"                    \
    "bcc 4f\n"                    \
    "str r0, [sp, #12]\n"         \
    "ldr r0, [sp, #16]\n"         \
    "vctp.8 r0\n"                 \
    "ldr r0, [sp, #12]\n"         \
    CHUNK_2("t", "vpstttt\n", "vpstt\n")\
    "b 4f\n"                      \
    "5:\n"                        \
    "str r0, [sp, #12]\n"         \
    "ldr r0, [sp, #8]\n"          \
    "subs r0, #2\n"               \
    "str r0, [sp, #8]\n"          \
    "lsrs r0, r0, #1\n"          \
    "itt eq\n"                   \
    "ldreq r0, [sp, #20]\n"      \
    "streq r0, [sp, #8]\n"       \
    "ldr r0, [sp, #12]\n"        \
    "b 2b\n"                      \
    "4:\n"

/* r0: inputs. To r1 where to jump, to r2 the passes, twice, and 1 for the last chunk, to r0 the
 * inputs of that. */
#define COUNT_CHUNKS         \
    "adr.w r1, 3f\n"           \
    "ubfx r2, r0, #4, #3\n"    \
    "mov r3, #56\n"            \
    "mls r1, r2, r3, r1\n"     \
    "orr r1, r1, #1\n"         \
    "lsrs r2, r0, #7\n"        \
    "lsls r2, r2, #1\n"        \
    "ands r0, r0, #15\n"       \
    "it ne\n"                  \
    "orrne r2, r2, #1\n"

/* On with the next run of a group, or with what stands behind. The stack: 0 where to jump, 20 as
 * above, 24 the next run, 28 what the last chunk of a run leaves of 16 inputs. */
#define NEXT_RUN                  \
    "str r0, [sp, #12]\n"         \
    "ldr r0, [sp, #24]\n"         \
    "ldrd r9, r11, [r0], #8\n"    \
    "cmp.w r9, #0\n"              \
    "beq 6f\n"                    \
    "str r0, [sp, #24]\n"         \
    "ldr r0, [sp, #28]\n"         \
    "cbz r0, 7f\n"                \
    "subs r1, r0\n"               \
    "subs r3, r0\n"               \
    "subs r5, r0\n"               \
    "subs r7, r0\n"               \
    "7:\n"                        \
    "ldr r0, [sp, #20]\n"         \
    "lsrs r0, r0, #1\n"           \
    "ldr r0, [sp, #12]\n"         \
    "ldr.w pc, [sp]\n"            \
    "6:\n"                        \
    "ldr r0, [sp, #12]\n"

/* The stack as it is above, from what COUNT_CHUNKS gives. */
#define KEEP_CHUNKS               \
    "str r1, [sp]\n"              \
    "str r2, [sp, #8]\n"          \
    "strd r0, r2, [sp, #16]\n"    \
    "rsbs r0, r0, #0\n"           \
    "and r0, r0, #15\n"           \
    "str r0, [sp, #28]\n"

/* The stack: 4 products. */
__asm__(
    NRW_ASM_BEGIN("nrw_dot_2")
    "push {r4-r11, lr}\n"
    "sub sp, #32\n"
    "str r0, [sp, #4]\n"
    "ldr r0, [r0, #28]\n"
    COUNT_CHUNKS
    KEEP_CHUNKS
    "1:\n"
    "ldr lr, [sp, #4]\n"
    "ldm.w lr, {r0, r2, r3, r7, r8, r9, r10}\n"
    "add r8, r3\n"
    "str r8, [lr, #8]\n"
    "ldrd r9, r11, [r10], #8\n"
    "str r10, [sp, #24]\n"
    "add r1, r3, r7\n"
    "add r5, r1, r7\n"
    "add r7, r5\n"
    "ldr r4, [sp, #20]\n"
    "lsrs r4, r4, #1\n"
    "ldm.w r2, {r8, r10, r12, lr}\n"
    "ldm.w r0, {r0, r2, r4, r6}\n"
    "ldr.w pc, [sp]\n"
    CHUNKS
    NEXT_RUN
    "ldr r1, [sp, #4]\n"
    "ldrd r3, r5, [r1]\n"
    "stm.w r3!, {r0, r2, r4, r6}\n"
    "stm.w r5!, {r8, r10, r12, lr}\n"
    "strd r3, r5, [r1]\n"
    "ldr r3, [r1, #20]\n"
    "subs r3, #1\n"
    "str r3, [r1, #20]\n"
    "bne.w 1b\n"
    "add sp, #32\n"
    "pop {r4-r11, pc}\n"
    NRW_ASM_END("nrw_dot_2"));

/* Whether there is a next pair of pixels, and what stands behind the function's end to go on with
 * it; lr points to the rows, r1 and r2 behind the outputs. The stack: 64 the first weights and the
 * groups. */
#define IS_NEXT_PAIR                   \
    "ldr r0, [lr, #72]\n"              \
    "subs r0, #1\n"                    \
    "bne.w 11f\n"
#define NEXT_PAIR                      \
    "11:\n"                            \
    "str r0, [lr, #72]\n"              \
    "ldrd r3, r4, [sp, #64]\n"         \
    "ldrd r0, r5, [lr, #76]\n"         \
    "sub r5, r5, r4, lsl #2\n"         \
    "add r1, r5\n"                     \
    "add r2, r5\n"                     \
    "add r9, r9, r0\n"                 \
    "add r11, r11, r0\n"               \
    "add r5, r4, r4, lsl #1\n"         \
    "lsls r5, r5, #4\n"                \
    "vsub.i32 q5, q5, r5\n"            \
    "add r0, lr, #4\n"                 \
    "stm r0, {r1, r2, r3, r4}\n"       \
    "str r9, [lr, #32]\n"              \
    "str r11, [lr, #40]\n"             \
    "ldm.w lr, " ROWS "\n"             \
    "b.w 1b\n"

/* FIRST_RUN stands before a group, whose rows lr points to, NEXT at the end of a run, IS_NEXT and
 * REPEAT behind the last group. The stack: 4 rows, 32 sums. */
#define CONVOLVE_2(FIRST_RUN, NEXT, IS_NEXT, REPEAT) \
    "push {r4-r11, lr}\n"              \
    "vpush {d8-d15}\n"                 \
    "sub sp, #80\n"                    \
    "ldrd r1, r2, [r0, #12]\n"         \
    "strd r1, r2, [sp, #64]\n"         \
    "str r0, [sp, #4]\n"               \
    "ldr r0, [r0, #44]\n"              \
    COUNT_CHUNKS                       \
    "ldr lr, [sp, #4]\n"               \
    "str r2, [lr, #36]\n"              \
    KEEP_CHUNKS                        \
    "mov r3, lr\n"                     \
    BEGIN_FINISH                       \
    "ldm.w lr, " ROWS "\n"             \
    "1:\n"                             \
    FIRST_RUN                          \
    "add r1, r3, r7\n"                 \
    "add r5, r1, r7\n"                 \
    "add r7, r5\n"                     \
    "adr.w lr, 10f\n"                  \
    "lsrs r10, r10, #1\n"              \
    "ldm.w lr, " SUMS_2 "\n"           \
    "ldr.w pc, [sp]\n"                 \
    CHUNKS                             \
    NEXT                               \
    "add r1, sp, #32\n"                \
    "stm.w r1, " SUMS_2 "\n"           \
    "vldrw.u32 q0, [sp, #32]\n"        \
    "vldrw.u32 q1, [sp, #48]\n"        \
    "ldr lr, [sp, #4]\n"               \
    "ldm.w lr, " ROWS "\n"             \
    FINISH(BOTH)                       \
    "add r3, r3, r7, lsl #2\n"         \
    "subs r4, #1\n"                    \
    "stm.w lr, " MOVED "\n"            \
    "bne.w 1b\n"                       \
    IS_NEXT                            \
    "add sp, #80\n"                    \
    "vpop {d8-d15}\n"                  \
    "pop {r4-r11, pc}\n"               \
    FINISH_OTHERS("t", BOTH)           \
    REPEAT                             \
    ".p2align 2\n"                     \
    "10:\n"                            \
    ".zero 32\n"

__asm__(NRW_ASM_BEGIN("nrw_convolve_2") CONVOLVE_2("", "", IS_NEXT_PAIR, NEXT_PAIR)
        NRW_ASM_END("nrw_convolve_2"));
__asm__(NRW_ASM_BEGIN("nrw_convolve_runs_2")
        CONVOLVE_2("ldr r0, [lr, #84]\n str r0, [sp, #24]\n", NEXT_RUN, "", "")
        NRW_ASM_END("nrw_convolve_runs_2"));

/* --- One pixel -------------------------------------------------------------------------------- */

/* Four sums of one pixel: all its inputs by four rows of weights. r10: how many there are. */
#define CHUNKS_1                           \
    "dlstp.8 lr, r10\n"                    \
    "2:\n"                                 \
    CHUNK_1("", "")                        \
    "letp lr, 2b\n"

/* r8: what the last chunk of a run leaves of 16 inputs; r11 points to the products, r12 to the next
 * run. */
__asm__(
    NRW_ASM_BEGIN("nrw_dot_1")
    "push {r4-r11, lr}\n"
    "mov r11, r0\n"
    "ldr r10, [r0, #28]\n"
    "rsb r8, r10, #0\n"
    "and r8, r8, #15\n"
    "1:\n"
    "ldm.w r11, {r0, r2, r3, r7, r9}\n"
    "add r9, r3\n"
    "str r9, [r11, #8]\n"
    "ldr r12, [r11, #24]\n"
    "ldr r9, [r12], #8\n"
    "add r1, r3, r7\n"
    "add r5, r1, r7\n"
    "add r7, r5\n"
    "ldm.w r0, {r0, r2, r4, r6}\n"
    "3:\n"
    CHUNKS_1
    "ldr r9, [r12], #8\n"
    "cmp.w r9, #0\n"
    "beq 4f\n"
    "sub.w r1, r1, r8\n"
    "sub.w r3, r3, r8\n"
    "sub.w r5, r5, r8\n"
    "sub.w r7, r7, r8\n"
    "b 3b\n"
    "4:\n"
    "ldr.w r1, [r11]\n"
    "stm.w r1!, {r0, r2, r4, r6}\n"
    "str.w r1, [r11]\n"
    "ldr.w r1, [r11, #20]\n"
    "subs r1, #1\n"
    "str.w r1, [r11, #20]\n"
    "bne 1b\n"
    "pop {r4-r11, pc}\n"
    NRW_ASM_END("nrw_dot_1"));

/* FIRST_RUN and NEXT as above, in r8 and r11 what nrw_dot_1 has in r12 and r8; r12 points to the
 * rows. */
#define CONVOLVE_1(FIRST_RUN, NEXT)    \
    "push {r4-r11, lr}\n"              \
    "vpush {d8-d15}\n"                 \
    "mov r12, r0\n"                    \
    "mov r3, r0\n"                     \
    "ldr r0, [r3, #44]\n"              \
    "rsb r11, r0, #0\n"                \
    "and r11, r11, #15\n"              \
    "str r0, [r3, #36]\n"              \
    "str r11, [r3, #40]\n"             \
    BEGIN_FINISH                       \
    "ldm.w r3, " ROWS "\n"             \
    "1:\n"                             \
    FIRST_RUN                          \
    "movs r0, #0\n"                    \
    "movs r2, #0\n"                    \
    "movs r4, #0\n"                    \
    "movs r6, #0\n"                    \
    "add r1, r3, r7\n"                 \
    "add r5, r1, r7\n"                 \
    "add r7, r5\n"                     \
    "3:\n"                             \
    CHUNKS_1                           \
    NEXT                               \
    "vmov q0[2], q0[0], r0, r4\n"      \
    "vmov q0[3], q0[1], r2, r6\n"      \
    "ldm.w r12, " ROWS "\n"            \
    FINISH(NONE)                       \
    "add r3, r3, r7, lsl #2\n"         \
    "subs r4, #1\n"                    \
    "stm.w r12, " MOVED "\n"           \
    "bne 1b\n"                         \
    "vpop {d8-d15}\n"                  \
    "pop {r4-r11, pc}\n"               \
    FINISH_OTHERS("", NONE)
#define NEXT_RUN_1                     \
    "ldr r9, [r8], #8\n"               \
    "cmp.w r9, #0\n"                   \
    "beq 4f\n"                         \
    "sub.w r1, r1, r11\n"              \
    "sub.w r3, r3, r11\n"              \
    "sub.w r5, r5, r11\n"              \
    "sub.w r7, r7, r11\n"              \
    "b 3b\n"                           \
    "4:\n"

__asm__(NRW_ASM_BEGIN("nrw_convolve_1") CONVOLVE_1("", "") NRW_ASM_END("nrw_convolve_1"));
__asm__(NRW_ASM_BEGIN("nrw_convolve_runs_1")
        CONVOLVE_1("ldr.w r8, [r12, #84]\n", NEXT_RUN_1)
        NRW_ASM_END("nrw_convolve_runs_1"));

#define FINISH_SUMS(T, SECOND)               \
    "push {r4-r9, lr}\n"                     \
    "vpush {d8-d15}\n"                       \
    "mov r12, r0\n"                          \
    "mov r9, r1\n"                           \
    "mov r3, r2\n"                           \
    BEGIN_FINISH                             \
    "ldm r3, {r0, r1, r2, r4, lr}\n"         \
    "ldrd r5, r6, [r3, #20]\n"               \
    "1:\n"                                   \
    "vldrw.u32 q0, [r12], #16\n"             \
    SECOND("vldrw.u32 q1, [r9], #16\n")      \
    FINISH(SECOND)                           \
    "le lr, 1b\n"                            \
    "vmov r0, s20\n"                         \
    "adds r0, #48\n"                         \
    "stm r3, {r0, r1, r2}\n"                 \
    "vpop {d8-d15}\n"                        \
    "pop {r4-r9, pc}\n"                      \
    FINISH_OTHERS(T, SECOND)

__asm__(NRW_ASM_BEGIN("nrw_finish_1") FINISH_SUMS("", NONE) NRW_ASM_END("nrw_finish_1"));
__asm__(NRW_ASM_BEGIN("nrw_finish_2") FINISH_SUMS("t", BOTH) NRW_ASM_END("nrw_finish_2"));
