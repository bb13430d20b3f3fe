/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The instructions of Armv7E-M and of Armv8-M's DSP extension that kernels are made of. A word
 * holds four neighbouring int8 (the first lowest) or two int16.
 */
#ifndef NARROWS_KERNELS_DSP_H
#define NARROWS_KERNELS_DSP_H

#include <stdint.h>

#include "../src/requant.h"
#include "noinline.h"

/* A word at any address, which LDR and STR reach. (Without a libc, compilers call memcpy.) */
struct nrw_word {
    uint32_t word;
} __attribute__((packed, may_alias));

static inline uint32_t nrw_load_word(const int8_t *at)
{
    return ((const struct nrw_word *)(const void *)at)->word;
}

static inline void nrw_store_word(int8_t *at, uint32_t word)
{
    ((struct nrw_word *)(void *)at)->word = word;
}

/* Bytes 0 and 2, sign-extended. */
static inline uint32_t nrw_even_bytes(uint32_t word)
{
    uint32_t halves;

    __asm__("sxtb16 %0, %1" : "=r"(halves) : "r"(word));
    return halves;
}

/* Bytes 1 and 3, sign-extended. */
static inline uint32_t nrw_odd_bytes(uint32_t word)
{
    uint32_t halves;

    __asm__("sxtb16 %0, %1, ror #8" : "=r"(halves) : "r"(word));
    return halves;
}

/* The same, extended by zeros. */
static inline uint32_t nrw_even_unsigned(uint32_t word)
{
    return word & 0x00FF00FFu;
}

static inline uint32_t nrw_odd_unsigned(uint32_t word)
{
    return word >> 8 & 0x00FF00FFu;
}

/* The lower halves of two words, those of a lowest; the upper halves. */
static inline uint32_t nrw_lower_halves(uint32_t a, uint32_t b)
{
    uint32_t halves;

    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(halves) : "r"(a), "r"(b));
    return halves;
}

static inline uint32_t nrw_upper_halves(uint32_t a, uint32_t b)
{
    uint32_t halves;

    __asm__("pkhtb %0, %2, %1, asr #16" : "=r"(halves) : "r"(a), "r"(b));
    return halves;
}

static inline uint32_t nrw_both_halves(int32_t value)
{
    return (uint32_t)(value & 0xFFFF) * 0x10001u;
}

/* sum + the products of both halves. */
static inline int32_t nrw_add_both(int32_t sum, uint32_t a, uint32_t b)
{
    __asm__("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

/* sum + product of the lower halves; of the upper halves. */
static inline int32_t nrw_add_low(int32_t sum, uint32_t a, uint32_t b)
{
    __asm__("smlabb %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

static inline int32_t nrw_add_high(int32_t sum, uint32_t a, uint32_t b)
{
    __asm__("smlatt %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

/* sum + byte `at` of a word. */
#define NRW_ADD_BYTE(at, ror)                                             \
    static inline int32_t nrw_add_byte_##at(int32_t sum, uint32_t word)   \
    {                                                                     \
        __asm__("sxtab %0, %0, %1" ror : "+r"(sum) : "r"(word));          \
        return sum;                                                       \
    }
NRW_ADD_BYTE(0, "")
NRW_ADD_BYTE(1, ", ror #8")
NRW_ADD_BYTE(2, ", ror #16")
NRW_ADD_BYTE(3, ", ror #24")
#undef NRW_ADD_BYTE

/* addend + a * b / 2^32, rounded to nearest, halves upwards. */
static inline int32_t nrw_add_high_product(int32_t addend, int32_t a, int32_t b)
{
    int32_t result;

    __asm__("smmlar %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(addend));
    return result;
}

/* The greater, and the less, of each pair of signed bytes. */
static inline uint32_t nrw_max_bytes(uint32_t a, uint32_t b)
{
    uint32_t difference, result;

    __asm__("ssub8 %0, %2, %3\n\tsel %1, %2, %3"
            : "=&r"(difference), "=r"(result)
            : "r"(a), "r"(b)
            : "cc");
    return result;
}

static inline uint32_t nrw_min_bytes(uint32_t a, uint32_t b)
{
    uint32_t difference, result;

    __asm__("ssub8 %0, %2, %3\n\tsel %1, %3, %2"
            : "=&r"(difference), "=r"(result)
            : "r"(a), "r"(b)
            : "cc");
    return result;
}

/* --- Requantization ------------------------------------------------------------------------- */

/* A channel whose shift is to the right by 1 to 22 bits, for nrw_shift_to_byte. */
struct nrw_right_shift {
    int32_t multiplier;
    int32_t rounding; /* half of the divisor, and the zero point times the divisor */
    uint32_t less;    /* the shift less one */
};

/* False: the channel has another shift. With |zero_point| <= 128 the rounding stays below 2^30. */
static inline int nrw_right_shift_of(struct nrw_right_shift *right, int32_t multiplier,
                                     int32_t shift, int32_t zero_point)
{
    right->multiplier = multiplier;
    right->less = ~(uint32_t)shift;
    right->rounding = (int32_t)((uint32_t)(1 + 2 * zero_point) << (right->less & 31u));
    return right->less <= 21u;
}

/* clamp(requantize(x) + zero_point, -128, 127) of |x| < 2^30; given x, or twice x.
 *
 * The doubled x times multiplier over 2^32, rounded, is nrw_high_mul(x, multiplier), of less than
 * 2^30. The division rounds halves away from zero, so that of a negative number is rounded down by
 * adding one less. The sign of x will do for that of the product: where the product is rounded to
 * 0, the quotient is 0 with either. */
static inline int32_t nrw_shift_twice_to_byte(const struct nrw_right_shift *right, int32_t twice)
{
    const int32_t addend = right->rounding + (twice >> 31);
    int32_t byte = nrw_add_high_product(addend, twice, right->multiplier) >> right->less;

    __asm__("ssat %0, #8, %0, asr #1" : "+r"(byte) : : "cc");
    return byte;
}

static inline int32_t nrw_shift_to_byte(const struct nrw_right_shift *right, int32_t x)
{
    return nrw_shift_twice_to_byte(right, (int32_t)((uint32_t)x << 1));
}

/* clamp(requantize(x) + zero_point, -128, 127) */
static inline int32_t nrw_requantize_byte(int32_t x, const struct nrw_channel *channel,
                                          int32_t zero_point)
{
    struct nrw_right_shift right;
    int32_t twice;

    if (nrw_right_shift_of(&right, channel->multiplier, channel->shift, zero_point) &&
        !__builtin_add_overflow(x, x, &twice)) {
        return nrw_shift_to_byte(&right, x);
    }
    x = nrw_requantize(x, channel->multiplier, channel->shift);
    return nrw_clamp(nrw_wrapping_add(x, zero_point), INT8_MIN, INT8_MAX);
}

/* Finished sums of neighbouring channels to outputs, which are clamped to int8 only. */
static inline void nrw_finish_four(int8_t *out, const int32_t sums[4],
                                   const struct nrw_channel *channels, int32_t zero_point)
{
#pragma GCC unroll 4
    for (uint32_t k = 0; k < 4; k++) {
        out[k] = (int8_t)nrw_requantize_byte(sums[k], &channels[k], zero_point);
    }
}

/* The activation of outputs that stand there clamped to int8 only. */
static inline void nrw_clamp_pixels(int32_t act_min, int32_t act_max, int32_t pixels,
                                    uint32_t count, int8_t *out, uint32_t out_stride)
{
    if (act_min == INT8_MIN && act_max == INT8_MAX) {
        return;
    }
    for (; pixels > 0; pixels--, out += out_stride) {
        for (uint32_t c = 0; c < count; c++) {
            out[c] = (int8_t)nrw_clamp(out[c], act_min, act_max);
        }
    }
}

#endif
