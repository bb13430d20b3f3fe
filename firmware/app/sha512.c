/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After FIPS 180-4, section 6.4. The message schedule is kept in a ring of 16 words, which is also
 * where bytes wait until there are enough for a block: no block is ever copied.
 */
#include "sha512.h"

#include <string.h>

enum { BLOCK = 128, ROUNDS = 80, WORDS = 8, RING = 16, LENGTH_BYTES = 16 };

/* The first 64 bits of the fractions of the cube roots of the first 80 primes (section 4.2.3). */
static const uint64_t constants[ROUNDS] = {
    0x428A2F98D728AE22, 0x7137449123EF65CD, 0xB5C0FBCFEC4D3B2F, 0xE9B5DBA58189DBBC,
    0x3956C25BF348B538, 0x59F111F1B605D019, 0x923F82A4AF194F9B, 0xAB1C5ED5DA6D8118,
    0xD807AA98A3030242, 0x12835B0145706FBE, 0x243185BE4EE4B28C, 0x550C7DC3D5FFB4E2,
    0x72BE5D74F27B896F, 0x80DEB1FE3B1696B1, 0x9BDC06A725C71235, 0xC19BF174CF692694,
    0xE49B69C19EF14AD2, 0xEFBE4786384F25E3, 0x0FC19DC68B8CD5B5, 0x240CA1CC77AC9C65,
    0x2DE92C6F592B0275, 0x4A7484AA6EA6E483, 0x5CB0A9DCBD41FBD4, 0x76F988DA831153B5,
    0x983E5152EE66DFAB, 0xA831C66D2DB43210, 0xB00327C898FB213F, 0xBF597FC7BEEF0EE4,
    0xC6E00BF33DA88FC2, 0xD5A79147930AA725, 0x06CA6351E003826F, 0x142929670A0E6E70,
    0x27B70A8546D22FFC, 0x2E1B21385C26C926, 0x4D2C6DFC5AC42AED, 0x53380D139D95B3DF,
    0x650A73548BAF63DE, 0x766A0ABB3C77B2A8, 0x81C2C92E47EDAEE6, 0x92722C851482353B,
    0xA2BFE8A14CF10364, 0xA81A664BBC423001, 0xC24B8B70D0F89791, 0xC76C51A30654BE30,
    0xD192E819D6EF5218, 0xD69906245565A910, 0xF40E35855771202A, 0x106AA07032BBD1B8,
    0x19A4C116B8D2D0C8, 0x1E376C085141AB53, 0x2748774CDF8EEB99, 0x34B0BCB5E19B48A8,
    0x391C0CB3C5C95A63, 0x4ED8AA4AE3418ACB, 0x5B9CCA4F7763E373, 0x682E6FF3D6B2B8A3,
    0x748F82EE5DEFB2FC, 0x78A5636F43172F60, 0x84C87814A1F0AB72, 0x8CC702081A6439EC,
    0x90BEFFFA23631E28, 0xA4506CEBDE82BDE9, 0xBEF9A3F7B2C67915, 0xC67178F2E372532B,
    0xCA273ECEEA26619C, 0xD186B8C721C0C207, 0xEADA7DD6CDE0EB1E, 0xF57D4F7FEE6ED178,
    0x06F067AA72176FBA, 0x0A637DC5A2C898A6, 0x113F9804BEF90DAE, 0x1B710B35131C471B,
    0x28DB77F523047D84, 0x32CAAB7B40C72493, 0x3C9EBE0A15C9BEBC, 0x431D67C49C100D4C,
    0x4CC5D4BECB3E42B6, 0x597F299CFC657E2A, 0x5FCB6FAB3AD6FAEC, 0x6C44198C4A475817,
};

static uint64_t rotated(uint64_t word, unsigned by)
{
    return word >> by | word << (64u - by);
}

/* The block is full: work it into the state. */
static void add_block(struct sha512 *hash)
{
    uint64_t *s = hash->work;
    uint64_t *w = hash->block;

    memcpy(s, hash->state, sizeof hash->work);
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t *word = &w[i % RING];
        if (i >= RING) {
            const uint64_t old = w[(i + 1) % RING];
            const uint64_t young = w[(i + 14) % RING];
            *word += w[(i + 9) % RING] + (rotated(old, 1) ^ rotated(old, 8) ^ old >> 7) +
                     (rotated(young, 19) ^ rotated(young, 61) ^ young >> 6);
        }
        const uint64_t choice = (s[4] & s[5]) ^ (~s[4] & s[6]);
        const uint64_t majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
        const uint64_t one = s[7] + (rotated(s[4], 14) ^ rotated(s[4], 18) ^ rotated(s[4], 41)) +
                             choice + constants[i] + *word;
        const uint64_t two = (rotated(s[0], 28) ^ rotated(s[0], 34) ^ rotated(s[0], 39)) + majority;
        memmove(s + 1, s, sizeof hash->work - sizeof s[0]);
        s[4] += one;
        s[0] = one + two;
    }
    for (unsigned i = 0; i < WORDS; i++) {
        hash->state[i] += s[i];
    }
}

static void add_byte(struct sha512 *hash, uint8_t byte)
{
    uint64_t *word = &hash->block[hash->count / 8 % RING];

    *word = *word << 8 | byte;
    hash->count++;
    if (hash->count % BLOCK == 0) {
        add_block(hash);
    }
}

void sha512_begin(struct sha512 *hash)
{
    /* The fractions of the square roots of the first eight primes (section 5.3.5). */
    static const uint64_t start[WORDS] = {
        0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
        0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
    };

    memcpy(hash->state, start, sizeof start);
    memset(hash->block, 0, sizeof hash->block);
    hash->count = 0;
}

void sha512_add(struct sha512 *hash, const uint8_t *bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        add_byte(hash, bytes[i]);
    }
}

void sha512_end(struct sha512 *hash, uint8_t digest[SHA512_BYTES])
{
    const uint64_t bits = (uint64_t)hash->count << 3;

    add_byte(hash, 0x80);
    while (hash->count % BLOCK != BLOCK - LENGTH_BYTES) {
        add_byte(hash, 0);
    }
    for (unsigned i = LENGTH_BYTES; i > 0; i--) {
        /* The upper half of the length is 0. */
        const uint64_t rest = i > sizeof bits ? 0 : bits >> 8 * (i - 1);
        add_byte(hash, (uint8_t)rest);
    }
    for (unsigned i = 0; i < SHA512_BYTES; i++) {
        digest[i] = (uint8_t)(hash->state[i / 8] >> (56 - 8 * (i % 8)));
    }
}
