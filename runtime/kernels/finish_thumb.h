/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the assembly of `dsp` and of `fast` does alike where sums become output elements. How a
 * prescale makes both roundings one is explained in finish_dsp.h.
 */
#ifndef NARROWS_KERNELS_FINISH_THUMB_H
#define NARROWS_KERNELS_FINISH_THUMB_H

#include "../src/requant.h"
#include "asm_thumb.h"

/* The shifts by 14 are by these bits. */
typedef char nrw_prescaled_bits_are_known[NRW_PRESCALED_BITS == 14 ? 1 : -1];

/* Registers: `word`, the last of a channel, becomes 4 times its prescale; `rounding` is set. Goes
 * to `exact` if there is none. */
#define NRW_QUICK_CHANNEL(word, zero_point, rounding, exact)       \
    LINE("asrs " word ", " word ", #14")                           \
    LINE("ble " exact)                                             \
    LINE("add " rounding ", " zero_point ", " word ", lsr #2")

/* The upper word of a prescaled sum's product, rounding included, to an int8. */
#define NRW_PRESCALED_TO_BYTE(sum) LINE("ssat " sum ", #8, " sum ", asr #14")

/* A sum to an int8 without SMMLA, whose result is the upper word of SMULL's; lr is changed. */
#define NRW_FINISH_BY_SMULL(sum, multiplier, prescale, rounding)   \
    LINE("mul " sum ", " sum ", " prescale)                        \
    LINE("smull lr, " sum ", " sum ", " multiplier)                \
    LINE("add " sum ", " sum ", " rounding)                        \
    NRW_PRESCALED_TO_BYTE(sum)

/* Four bytes to one word, in the first register. */
#define NRW_PACK(a, b, c, d)                                       \
    LINE("bfi " a ", " b ", #8, #8")                               \
    LINE("bfi " a ", " c ", #16, #8")                              \
    LINE("bfi " a ", " d ", #24, #8")

#endif
