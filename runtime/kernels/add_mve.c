/* SPDX-License-Identifier: Apache-2.0 */
#include "add_mve.h"

#include "asm_thumb.h"

/* Where the assembly finds the fields of struct nrw_addition. */
typedef char nrw_addition_is_known[sizeof(struct nrw_addition) == 72 ? 1 : -1];

/* Halves are rounded upwards by VRSHL, so a negative number loses 1 before it is shifted. */
#define SHIFT_RIGHT(SUM, ROUND, SHIFT)       \
    "vpt.s32 lt, " SUM ", zr\n"              \
    "vaddt.i32 " SUM ", " SUM ", " ROUND "\n" \
    "vrshl.s32 " SUM ", " SHIFT "\n"

__asm__(
    NRW_ASM_BEGIN("nrw_add_rows")
    "push {r4-r12, lr}\n"
    "vpush {d8-d15}\n"
    "dlstp.32 lr, r1\n"
    "ldrd r2, r3, [r0, #52]\n"
    "vdup.32 q3, r2\n"
    "vdup.32 q4, r3\n"
    "ldrd r2, r3, [r0, #60]\n"
    "vdup.32 q5, r2\n"
    "vdup.32 q6, r3\n"
    "ldr r2, [r0, #68]\n"
    "vdup.32 q7, r2\n"
    "ldm.w r0, {r0-r12}\n"
    "1:\n"
    "vldrb.s32 q0, [r0], #4\n"
    "vldrb.s32 q1, [r1], #4\n"
    "vsub.i32 q0, q0, r3\n"
    "vsub.i32 q1, q1, r4\n"
    "vshl.s32 q0, r5\n"
    "vshl.s32 q1, r5\n"
    "vqrdmulh.s32 q0, q0, r6\n"
    "vqrdmulh.s32 q1, q1, r7\n"
    SHIFT_RIGHT("q0", "q3", "r8")
    SHIFT_RIGHT("q1", "q4", "r9")
    "vadd.i32 q0, q0, q1\n"
    "vqrdmulh.s32 q0, q0, r10\n"
    SHIFT_RIGHT("q0", "q5", "r11")
    "vadd.i32 q0, q0, r12\n"
    "vmax.s32 q0, q0, q6\n"
    "vmin.s32 q0, q0, q7\n"
    "vstrb.32 q0, [r2], #4\n"
    "letp lr, 1b\n"
    "vpop {d8-d15}\n"
    "pop {r4-r12, pc}\n"
    NRW_ASM_END("nrw_add_rows"));
