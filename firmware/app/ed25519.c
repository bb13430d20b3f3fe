/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After RFC 8032, sections 5.1.3, 5.1.4 and 5.1.7, with the structure of TweetNaCl: one addition of
 * points that also doubles, and one multiplication of numbers that also squares.
 *
 * A number stands for its residue modulo p = 2^255 - 19. What the arithmetic returns is below
 * 2^255 + 2^12 ("almost reduced"); any 256 bits are good operands. Operands may be the result.
 */
#include "ed25519.h"

#include <string.h>

enum { BITS = ED25519_LIMB_BITS, LIMBS = 256 / BITS, TOP = LIMBS - 1, TEMPORARIES = 5 };

typedef char assert_scratch_size[sizeof(struct ed25519_scratch) == ED25519_SCRATCH_BYTES ? 1 : -1];

typedef ed25519_limb limb;
typedef struct ed25519_number number;
typedef struct ed25519_point point;

#if ED25519_LIMB_BITS == 16
typedef uint32_t wide; /* holds limb * limb + limb + limb */
#define WORD(bits) (limb)((bits) & 0xFFFF), (limb)((bits) >> 16)
#else
typedef uint64_t wide;
#define WORD(bits) (bits)
#endif
#define LIMB_MOST ((wide)(limb)-1)
#define SIGN ((limb)((limb)1 << (BITS - 1))) /* bit 255, in the top limb */

/* 2 d, where d = -121665 / 121666 is the curve's constant. */
static const number twice_d = {
    {WORD(0x26B2F159), WORD(0xEBD69B94), WORD(0x8283B156), WORD(0x00E0149A), WORD(0xEEF3D130),
     WORD(0x198E80F2), WORD(0x56DFFCE7), WORD(0x2406D9DC)}};
/* A square root of -1: 2^((p - 1) / 4). */
static const number root_of_minus_1 = {
    {WORD(0x4A0EA0B0), WORD(0xC4EE1B27), WORD(0xAD2FE478), WORD(0x2F431806), WORD(0x3DFBD7A7),
     WORD(0x2B4D0099), WORD(0x4FC1DF0B), WORD(0x2B832480)}};
/* The base point: y = 4 / 5, and x is even. */
static const number base_x = {
    {WORD(0x8F25D51A), WORD(0xC9562D60), WORD(0x9525A7B2), WORD(0x692CC760), WORD(0xFDD6DC5C),
     WORD(0xC0A4E231), WORD(0xCD6E53FE), WORD(0x216936D3)}};
static const number base_y = {
    {WORD(0x66666658), WORD(0x66666666), WORD(0x66666666), WORD(0x66666666), WORD(0x66666666),
     WORD(0x66666666), WORD(0x66666666), WORD(0x66666666)}};
/* L, the base point's order: 2^252 + 27742317777372353535851937790883648493. */
static const number order = {
    {WORD(0x5CF5D3ED), WORD(0x5812631A), WORD(0xA2F79CD6), WORD(0x14DEF9DE), WORD(0x00000000),
     WORD(0x00000000), WORD(0x00000000), WORD(0x10000000)}};
static const number one = {{1}};

/* --- Numbers modulo p --------------------------------------------------------------------- */

/* All 256 bits, little-endian. */
static void load(number *r, const uint8_t bytes[32])
{
    memset(r, 0, sizeof *r);
    for (unsigned i = 0; i < 32; i++) {
        r->limbs[8 * i / BITS] |= (limb)((limb)bytes[i] << (8 * i % BITS));
    }
}

static bool is_equal(const number *a, const number *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static bool is_odd(const number *a)
{
    return a->limbs[0] & 1;
}

/* r + 2^256 * above, almost reduced: 2^255 is 19. above: at most 76, so that 19 times all bits from
 * 255 on is below 2^12. */
static void fold(number *r, wide above)
{
    wide carry = 19 * (above << 1 | r->limbs[TOP] >> (BITS - 1));

    r->limbs[TOP] &= (limb)~SIGN;
    for (unsigned i = 0; i < LIMBS; i++) {
        carry += r->limbs[i];
        r->limbs[i] = (limb)carry;
        carry >>= BITS;
    }
}

static void add(number *r, const number *a, const number *b)
{
    wide carry = 0;

    for (unsigned i = 0; i < LIMBS; i++) {
        carry += (wide)a->limbs[i] + b->limbs[i];
        r->limbs[i] = (limb)carry;
        carry >>= BITS;
    }
    fold(r, carry);
}

/* a - b + 4 p. Twice the limbs of 2 p = 2^256 - 38 are added, so no limb borrows from the next. */
static void subtract(number *r, const number *a, const number *b)
{
    wide carry = 0;
    wide twice_p = LIMB_MOST - 37;

    for (unsigned i = 0; i < LIMBS; i++) {
        carry += a->limbs[i] + 2 * twice_p - b->limbs[i];
        r->limbs[i] = (limb)carry;
        carry >>= BITS;
        twice_p = LIMB_MOST;
    }
    fold(r, carry);
}

/* r += a * factor, each of LIMBS limbs. Returns: the carry out of r. */
static limb add_product(limb *r, const limb *a, limb factor)
{
    wide carry = 0;

    for (unsigned i = 0; i < LIMBS; i++) {
        carry += (wide)a[i] * factor + r[i];
        r[i] = (limb)carry;
        carry >>= BITS;
    }
    return (limb)carry;
}

static void multiply(number *r, const number *a, const number *b)
{
    limb product[2 * LIMBS];

    memset(product, 0, sizeof product);
    for (unsigned i = 0; i < LIMBS; i++) {
        product[i + LIMBS] = add_product(product + i, a->limbs, b->limbs[i]);
    }
    /* The upper half counts 2^256, which is 38 modulo p. */
    const limb above = add_product(product, product + LIMBS, 38);
    memcpy(r, product, sizeof *r);
    fold(r, above);
}

/* r^(2^times) */
static void square(number *r, unsigned times)
{
    for (; times > 0; times--) {
        multiply(r, r, r);
    }
}

/* The residue below p, of an almost reduced number, which is below 2 p. */
static void reduce(number *r)
{
    number above = *r;
    wide carry = 19;

    for (unsigned i = 0; i < LIMBS; i++) {
        carry += above.limbs[i];
        above.limbs[i] = (limb)carry;
        carry >>= BITS;
    }
    if (above.limbs[TOP] & SIGN) {
        /* r + 19 >= 2^255, so r - p = r + 19 - 2^255 */
        above.limbs[TOP] &= (limb)~SIGN;
        *r = above;
    }
}

static bool is_zero(const number *a)
{
    static const number zero;
    number reduced = *a;

    reduce(&reduced);
    return is_equal(&reduced, &zero);
}

/* a^(2^252 - 3). temporary: of the caller; none of the three is another. */
static void power(number *r, const number *a, number *temporary)
{
    enum { ONES = 250, SHIFT = 7 }; /* ONES >> SHIFT is 1 */

    *r = *a;
    for (unsigned i = SHIFT; i > 0; i--) {
        /* From r = a^(2^k - 1) with k = ONES >> i to the same with k = ONES >> (i - 1). */
        *temporary = *r;
        square(r, ONES >> i);
        multiply(r, r, temporary);
        if (ONES >> (i - 1) & 1) {
            square(r, 1);
            multiply(r, r, a);
        }
    }
    /* 2^252 - 3 is 250 ones, a zero and a one. */
    square(r, 2);
    multiply(r, r, a);
}

/* --- Numbers modulo L --------------------------------------------------------------------- */

/* r - L if that is not negative. Returns: whether it was subtracted. */
static bool subtract_order(number *r)
{
    number difference;
    wide carry = 1;

    for (unsigned i = 0; i < LIMBS; i++) {
        carry += r->limbs[i] + (LIMB_MOST - order.limbs[i]);
        difference.limbs[i] = (limb)carry;
        carry >>= BITS;
    }
    if (carry) {
        *r = difference;
    }
    return carry != 0;
}

/* 512 bits, little-endian, modulo L: bit by bit from the top. L is below 2^253, so twice a residue
 * does not overflow. */
static void load_reduced(number *r, const uint8_t bytes[SHA512_BYTES])
{
    memset(r, 0, sizeof *r);
    for (unsigned i = 8 * SHA512_BYTES; i > 0; i--) {
        wide carry = (wide)bytes[(i - 1) / 8] >> (i - 1) % 8 & 1u;
        for (unsigned j = 0; j < LIMBS; j++) {
            carry += 2 * (wide)r->limbs[j];
            r->limbs[j] = (limb)carry;
            carry >>= BITS;
        }
        subtract_order(r);
    }
}

static unsigned bit(const number *a, unsigned i)
{
    return (unsigned)a->limbs[i / BITS] >> i % BITS & 1u;
}

/* --- Points ------------------------------------------------------------------------------- */

/* p becomes the sum of any two points, which may be the same one. */
static void add_point(point *p, const point *q, number t[TEMPORARIES])
{
    subtract(&t[0], &p->y, &p->x);
    subtract(&t[1], &q->y, &q->x);
    multiply(&t[0], &t[0], &t[1]); /* A */
    add(&t[1], &p->y, &p->x);
    add(&t[2], &q->y, &q->x);
    multiply(&t[1], &t[1], &t[2]); /* B */
    multiply(&t[2], &p->t, &q->t);
    multiply(&t[2], &t[2], &twice_d); /* C */
    multiply(&t[3], &p->z, &q->z);
    add(&t[3], &t[3], &t[3]);      /* D */
    subtract(&t[4], &t[1], &t[0]); /* E */
    add(&t[1], &t[1], &t[0]);      /* H */
    subtract(&t[0], &t[3], &t[2]); /* F */
    add(&t[3], &t[3], &t[2]);      /* G */
    multiply(&p->x, &t[4], &t[0]);
    multiply(&p->y, &t[3], &t[1]);
    multiply(&p->z, &t[0], &t[3]);
    multiply(&p->t, &t[4], &t[1]);
}

/* x = 0, y = 1. */
static void set_neutral(point *p)
{
    memset(p, 0, sizeof *p);
    p->y = one;
    p->z = one;
}

/* p becomes 8 p, which is the neutral point if and only if the order of p divides 8. Of the points
 * with x = 0, 8 p is no other, because its order divides L, which is odd. */
static bool is_of_small_order(point *p, number t[TEMPORARIES])
{
    for (unsigned i = 0; i < 3; i++) {
        add_point(p, p, t);
    }
    return is_zero(&p->x);
}

/* Minus the point of 32 bytes. False: they are no canonical encoding of a point.
 *
 * x^2 = (y^2 - 1) / (d y^2 + 1). Both are multiplied by 2, which saves the constant d, and called u
 * and v. Then u v^3 (u v^7)^((p - 5) / 8) is x or x times a root of -1, or there is no x. */
static bool decode_minus(point *p, const uint8_t bytes[32], number t[TEMPORARIES])
{
    number *const u = &t[0], *const v = &t[1], *const uv3 = &t[2];
    const bool is_x_odd = bytes[31] >> 7;

    set_neutral(p);
    load(&p->y, bytes);
    p->y.limbs[TOP] &= (limb)~SIGN;
    *u = p->y;
    reduce(u);
    if (!is_equal(u, &p->y)) {
        return false;
    }
    multiply(v, &p->y, &p->y);
    subtract(u, v, &one);
    add(u, u, u);
    multiply(v, v, &twice_d);
    add(v, v, &one);
    add(v, v, &one);

    multiply(uv3, v, v);
    multiply(&t[3], uv3, uv3); /* v^4 */
    multiply(uv3, uv3, v);
    multiply(uv3, uv3, u);
    multiply(&t[3], &t[3], uv3); /* u v^7 */
    power(&p->x, &t[3], &t[4]);
    multiply(&p->x, &p->x, uv3);

    multiply(&t[2], &p->x, &p->x);
    multiply(&t[2], &t[2], v);
    subtract(&t[3], &t[2], u);
    if (!is_zero(&t[3])) {
        add(&t[3], &t[2], u);
        if (!is_zero(&t[3])) {
            return false;
        }
        multiply(&p->x, &p->x, &root_of_minus_1);
    }
    if (is_zero(&p->x) && is_x_odd) {
        return false;
    }
    reduce(&p->x);
    if (is_odd(&p->x) == is_x_odd) {
        subtract(&p->x, &p->t, &p->x); /* t is still 0 */
    }
    multiply(&p->t, &p->x, &p->y);
    return true;
}

/* Is the point what the 32 bytes encode, canonically? */
static bool is_encoded(const point *p, const uint8_t bytes[32], number t[TEMPORARIES])
{
    /* 1 / z = z^(p - 2) = z^(8 (2^252 - 3)) z^3 */
    power(&t[0], &p->z, &t[1]);
    square(&t[0], 3);
    for (unsigned i = 0; i < 3; i++) {
        multiply(&t[0], &t[0], &p->z);
    }
    multiply(&t[1], &p->x, &t[0]);
    multiply(&t[2], &p->y, &t[0]);
    reduce(&t[1]);
    reduce(&t[2]);
    if (is_odd(&t[1])) {
        t[2].limbs[TOP] |= SIGN;
    }
    load(&t[3], bytes);
    return is_equal(&t[2], &t[3]);
}

/* --- Verification ------------------------------------------------------------------------- */

bool ed25519_verify(const uint8_t signature[ED25519_SIGNATURE_BYTES],
                    const uint8_t key[ED25519_KEY_BYTES], const uint8_t *message, uint32_t count,
                    struct ed25519_scratch *scratch)
{
    struct sha512 *const sha = &scratch->phase.hashing.sha;
    number *const s = &scratch->s, *const h = &scratch->h;
    point *const table = scratch->phase.curve.table;
    point *const sum = &scratch->phase.curve.sum;
    number *const t = scratch->phase.curve.temporaries;

    load(s, signature + 32);
    if (subtract_order(s)) {
        return false;
    }
    sha512_begin(sha);
    sha512_add(sha, signature, 32);
    sha512_add(sha, key, ED25519_KEY_BYTES);
    sha512_add(sha, message, count);
    sha512_end(sha, scratch->phase.hashing.digest);
    load_reduced(h, scratch->phase.hashing.digest);

    if (!decode_minus(&table[1], key, t)) {
        return false;
    }
    *sum = table[1];
    if (is_of_small_order(sum, t)) {
        return false;
    }
    set_neutral(&table[0]);
    table[0].x = base_x;
    table[0].y = base_y;
    multiply(&table[0].t, &base_x, &base_y);
    table[2] = table[1];
    add_point(&table[2], &table[0], t);

    set_neutral(sum);
    for (unsigned i = 253; i > 0; i--) {
        const unsigned which = bit(s, i - 1) | bit(h, i - 1) << 1;
        add_point(sum, sum, t);
        if (which > 0) {
            add_point(sum, &table[which - 1], t);
        }
    }
    return is_encoded(sum, signature, t) && !is_of_small_order(sum, t);
}
