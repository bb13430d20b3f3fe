/* SPDX-License-Identifier: Apache-2.0 */
#include "add_mve.h"

#include "asm_thumb.h"

/* Where the assembly finds the fields of struct nrw_addition. */
typedef char nrw_addition_is_known[sizeof(struct nrw_addition) == 76 ? 1 : -1];

/* Halves are rounded upwards by VRSHL, so a negative number loses 1 before it is shifted. */
#define SCALE(SUM, MULTIPLIER, ROUND, SHIFT)       \
    "vqrdmulh.s32 " SUM ", " SUM ", " MULTIPLIER "\n" \
    "vpt.s32 lt, " SUM ", zr\n"                    \
    "vaddt.i32 " SUM ", " SUM ", " ROUND "\n"      \
    "vrshl.s32 " SUM ", " SHIFT "\n"

/* SCALE_A: SCALE of the first operand, if it has any. */
#define ADD_ROWS(SCALE_A)                  \
    "push {r4-r12, lr}\n"                  \
    "vpush {d8-d15}\n"                     \
    "dlstp.32 lr, r1\n"                    \
    "ldrd r2, r3, [r0, #12]\n"             \
    "vdup.32 q2, r2\n"                     \
    "vdup.32 q3, r3\n"                     \
    "ldrd r2, r3, [r0, #52]\n"             \
    "vdup.32 q4, r2\n"                     \
    "vdup.32 q5, r3\n"                     \
    "ldrd r2, r3, [r0, #68]\n"             \
    "vdup.32 q6, r2\n"                     \
    "vdup.32 q7, r3\n"                     \
    "ldrd r11, r12, [r0, #60]\n"           \
    "ldrd r9, r10, [r0, #44]\n"            \
    "ldr r2, [r0, #8]\n"                   \
    "add r1, r0, #20\n"                    \
    "ldm.w r1, {r3-r8}\n"                  \
    "ldrd r0, r1, [r0]\n"                  \
    "1:\n"                                 \
    "vldrb.s32 q0, [r0], #4\n"             \
    "vldrb.s32 q1, [r1], #4\n"             \
    "vmlas.s32 q0, q2, r3\n"               \
    "vmlas.s32 q1, q3, r4\n"               \
    SCALE_A                                \
    SCALE("q1", "r6", "q5", "r8")          \
    "vadd.i32 q0, q0, q1\n"                \
    SCALE("q0", "r9", "r11", "r10")        \
    "vadd.i32 q0, q0, r12\n"               \
    "vmax.s32 q0, q0, q6\n"                \
    "vmin.s32 q0, q0, q7\n"                \
    "vstrb.32 q0, [r2], #4\n"              \
    "letp lr, 1b\n"                        \
    "vpop {d8-d15}\n"                      \
    "pop {r4-r12, pc}\n"

__asm__(NRW_ASM_BEGIN("nrw_add_rows") ADD_ROWS(SCALE("q0", "r5", "q4", "r7"))
        NRW_ASM_END("nrw_add_rows"));
__asm__(NRW_ASM_BEGIN("nrw_add_scaled_rows") ADD_ROWS("") NRW_ASM_END("nrw_add_scaled_rows"));
