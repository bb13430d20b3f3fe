/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Functions that are all assembly, since no compiler leaves a statement fourteen registers or
 * vectors enough: what stands around their instructions.
 */
#ifndef NARROWS_ASM_THUMB_H
#define NARROWS_ASM_THUMB_H

#define LINE(TEXT) TEXT "\n\t"

#define NRW_ASM_BEGIN(NAME)                         \
    ".syntax unified\n"                             \
    ".section .text." NAME ", \"ax\", %progbits\n"  \
    ".p2align 2\n"                                  \
    ".thumb\n"                                      \
    ".global " NAME "\n"                            \
    ".type " NAME ", %function\n"                   \
    ".thumb_func\n" NAME ":\n"
#define NRW_ASM_END(NAME) ".size " NAME ", . - " NAME "\n.text\n"

#endif
