/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one definition of rounding (SPEC.md, Arithmetic). Everything is modulo 2^32 where it
 * could overflow, so no value of x or multiplier is undefined; shifts are -31 to 30, which
 * nrw_open has checked.
 */
#ifndef NARROWS_REQUANT_H
#define NARROWS_REQUANT_H

#include <stdint.h>

/* C99 leaves to the compiler how negative numbers shift right and how large unsigned
 * numbers become signed; this runtime needs the usual answers. */
typedef char nrw_needs_arithmetic_shift[(-1 >> 1) == -1 ? 1 : -1];
typedef char nrw_needs_modulo_conversion[(int32_t)0xFFFFFFFFu == -1 ? 1 : -1];

/* One line of a channel table, as it stands in the blob. */
struct nrw_channel {
    int32_t bias;       /* the input's zero point folded in */
    int32_t multiplier; /* 0 to 2^31 - 1 */
    int8_t shift;       /* -31 to 30; negative is to the right */
    int8_t sign;        /* 0; without a prescale that of shift */
    int16_t prescale;   /* 2^(13 + shift), and 4 times that times any sum has 32 bits; or the sign */
};

/* Bits behind the point that the high product of a prescaled sum has. */
enum { NRW_PRESCALED_BITS = 14 };

/* The zero point and half of one, with so many bits behind the point. The lowest bit says that
 * negative numbers come through the activation, of which the reference rounds halves down. */
static inline int32_t nrw_finish_word(int32_t zero_point, int32_t act_min)
{
    return (2 * zero_point + 1) * (1 << (NRW_PRESCALED_BITS - 1)) | (act_min < zero_point);
}

/* What every requantization calls: a function of its own where a build is to be small. */
#ifdef __OPTIMIZE_SIZE__
#define NRW_SHARED __attribute__((noinline, unused)) static
#else
#define NRW_SHARED static inline
#endif

/* round(a * b / 2^31). The reference adds 2^30 or 1 - 2^30 by sign and truncates, which is
 * the same as rounding halves upwards. */
NRW_SHARED int32_t nrw_high_mul(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b + (INT64_C(1) << 30)) >> 31);
}

/* round(x / 2^exponent), halves away from zero; exponent 0 to 31. */
NRW_SHARED int32_t nrw_rounding_shift(int32_t x, int32_t exponent)
{
    const int32_t mask = (int32_t)((UINT32_C(1) << exponent) - 1u);
    const int32_t threshold = (mask >> 1) + (x < 0);

    return (x >> exponent) + ((x & mask) > threshold);
}

static inline int32_t nrw_requantize(int32_t x, int32_t multiplier, int32_t shift)
{
    const int32_t left = shift > 0 ? shift : 0;
    const int32_t high = nrw_high_mul((int32_t)((uint32_t)x << left), multiplier);

    if (shift >= 0) {
        return high;
    }
    /* nrw_rounding_shift by 1 or more, of more than INT32_MIN as multiplier < 2^31. */
    return (((high - (high < 0)) >> (-shift - 1)) + 1) >> 1;
}

static inline int32_t nrw_clamp(int32_t x, int32_t low, int32_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* a + b modulo 2^32. */
static inline int32_t nrw_wrapping_add(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

/* A finished sum without its bias to an output element. */
static inline int8_t nrw_finish(const struct nrw_channel *channel, uint32_t sum,
                                int32_t zero_point, int32_t act_min, int32_t act_max)
{
    const int32_t acc = (int32_t)((uint32_t)channel->bias + sum);
    const int32_t value = nrw_requantize(acc, channel->multiplier, channel->shift);

    return (int8_t)nrw_clamp(nrw_wrapping_add(value, zero_point), act_min, act_max);
}

/* Sums of so many channels of a pixel stand on the stack. */
enum { NRW_BLOCK = 16 };

/* Four at a time: quicker than memset for so few. */
static inline void nrw_clear_block(uint32_t sums[NRW_BLOCK])
{
    for (uint32_t k = 0; k < NRW_BLOCK; k += 4) {
        sums[k] = 0;
        sums[k + 1] = 0;
        sums[k + 2] = 0;
        sums[k + 3] = 0;
    }
}

/* The finished sums of neighbouring channels. */
static inline void nrw_finish_channels(const struct nrw_channel *channels, const uint32_t *sums,
                                       uint32_t count, int32_t zero_point, int32_t act_min,
                                       int32_t act_max, int8_t *out)
{
    for (uint32_t k = 0; k < count; k++) {
        out[k] = nrw_finish(&channels[k], sums[k], zero_point, act_min, act_max);
    }
}

#endif
