/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From sums to output elements, in assembly: what nrw_requantize says, the zero point, and the
 * clamp to int8, for all the sums of one channel.
 *
 * Both roundings of the reference are divisions that round down, once the halves are added, so they
 * are one: floor((sum * m + 2^30 + 2^31 * (zero_point * 2^s + 2^(s - 1))) / 2^(31 + s)), where s is
 * the shift to the right. Only negative numbers differ, of which halves are rounded down; but where
 * the activation clamps to the zero point or above, as a ReLU does, all of them become that. If the
 * sum is first multiplied by the channel's prescale, 2^(15 - s), no bit of what is added is below
 * the product's upper word, and 14 bits of that are behind the point: MUL, SMMLA, SSAT.
 *
 * Else the high product is SMMLAR's of sum and 2 * m, which without its highest bit is that less
 * 2^32; the sum is added instead. It rounds as the reference does, whatever the sum. A channel is
 * odd whose m has no such bit, or whose shift is not to the right.
 */
#ifndef NARROWS_KERNELS_FINISH_DSP_H
#define NARROWS_KERNELS_FINISH_DSP_H

#include "finish_thumb.h"

#define NRW_FINISH_QUICKLY(sum, multiplier, prescale, rounding)    \
    LINE("mul " sum ", " sum ", " prescale)                        \
    LINE("smmla " sum ", " sum ", " multiplier ", " rounding)      \
    NRW_PRESCALED_TO_BYTE(sum)

/* The multiplier is doubled; `word` becomes the shift less one. Goes to `odd` if the channel is. */
#define NRW_EXACT_CHANNEL(multiplier, word, zero_point, rounding, odd) \
    LINE("sxtb " word ", " word)                                   \
    LINE("lsls " multiplier ", " multiplier ", #1")                \
    LINE("bpl " odd)                                               \
    LINE("mvns " word ", " word)                                   \
    LINE("bmi " odd)                                               \
    LINE("asr " rounding ", " zero_point ", #13")

/* The zero point is added before the last halving. */
#define NRW_FINISH_EXACTLY(sum, multiplier, shift, rounding)       \
    LINE("smmlar " sum ", " sum ", " multiplier ", " sum)          \
    LINE("add " sum ", " sum ", " sum ", asr #31")                 \
    LINE("asr " sum ", " sum ", " shift)                           \
    LINE("qadd " sum ", " sum ", " rounding)                       \
    LINE("ssat " sum ", #8, " sum ", asr #1")

#endif
