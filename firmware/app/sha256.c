/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After FIPS 180-4, section 6.2. The message schedule is kept in a ring of 16 words.
 */
#include "sha256.h"

#include <string.h>

enum { BLOCK = 64, ROUNDS = 64, WORDS = 8 };

/* The first 32 bits of the fractions of the cube roots of the first 64 primes (section 4.2.2). */
static const uint32_t constants[ROUNDS] = {
    0x428A2F98, 0x71374491, 0xB5C0FBCF, 0xE9B5DBA5, 0x3956C25B, 0x59F111F1, 0x923F82A4, 0xAB1C5ED5,
    0xD807AA98, 0x12835B01, 0x243185BE, 0x550C7DC3, 0x72BE5D74, 0x80DEB1FE, 0x9BDC06A7, 0xC19BF174,
    0xE49B69C1, 0xEFBE4786, 0x0FC19DC6, 0x240CA1CC, 0x2DE92C6F, 0x4A7484AA, 0x5CB0A9DC, 0x76F988DA,
    0x983E5152, 0xA831C66D, 0xB00327C8, 0xBF597FC7, 0xC6E00BF3, 0xD5A79147, 0x06CA6351, 0x14292967,
    0x27B70A85, 0x2E1B2138, 0x4D2C6DFC, 0x53380D13, 0x650A7354, 0x766A0ABB, 0x81C2C92E, 0x92722C85,
    0xA2BFE8A1, 0xA81A664B, 0xC24B8B70, 0xC76C51A3, 0xD192E819, 0xD6990624, 0xF40E3585, 0x106AA070,
    0x19A4C116, 0x1E376C08, 0x2748774C, 0x34B0BCB5, 0x391C0CB3, 0x4ED8AA4A, 0x5B9CCA4F, 0x682E6FF3,
    0x748F82EE, 0x78A5636F, 0x84C87814, 0x8CC70208, 0x90BEFFFA, 0xA4506CEB, 0xBEF9A3F7, 0xC67178F2,
};

static uint32_t rotated(uint32_t word, unsigned by)
{
    return word >> by | word << (32u - by);
}

static uint32_t load_big(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void store_big(uint8_t *bytes, uint32_t word)
{
    for (unsigned i = 0; i < 4; i++) {
        bytes[i] = (uint8_t)(word >> (24u - 8u * i));
    }
}

static void add_block(uint32_t state[WORDS], const uint8_t *block)
{
    uint32_t w[16];
    uint32_t s[WORDS];

    memcpy(s, state, sizeof s);
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint32_t *word = &w[i % 16];
        if (i < 16) {
            *word = load_big(block + 4 * i);
        } else {
            const uint32_t old = w[(i + 1) % 16];
            const uint32_t young = w[(i + 14) % 16];
            *word += w[(i + 9) % 16] + (rotated(old, 7) ^ rotated(old, 18) ^ old >> 3) +
                     (rotated(young, 17) ^ rotated(young, 19) ^ young >> 10);
        }
        const uint32_t choice = (s[4] & s[5]) ^ (~s[4] & s[6]);
        const uint32_t majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
        const uint32_t one = s[7] + (rotated(s[4], 6) ^ rotated(s[4], 11) ^ rotated(s[4], 25)) +
                             choice + constants[i] + *word;
        const uint32_t two = (rotated(s[0], 2) ^ rotated(s[0], 13) ^ rotated(s[0], 22)) + majority;
        memmove(s + 1, s, sizeof s - sizeof s[0]);
        s[4] += one;
        s[0] = one + two;
    }
    for (unsigned i = 0; i < WORDS; i++) {
        state[i] += s[i];
    }
}

void sha256(uint8_t digest[SHA256_BYTES], const uint8_t *bytes, uint32_t count)
{
    /* The fractions of the square roots of the first eight primes (section 5.3.3). */
    uint32_t state[WORDS] = {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
                             0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19};
    const uint32_t rest = count % BLOCK;
    uint8_t last[2 * BLOCK] = {0};
    const uint32_t padded = rest < BLOCK - 8 ? BLOCK : 2 * BLOCK;

    for (uint32_t at = 0; at + BLOCK <= count; at += BLOCK) {
        add_block(state, bytes + at);
    }
    if (rest > 0) {
        memcpy(last, bytes + count - rest, rest);
    }
    last[rest] = 0x80;
    store_big(last + padded - 4, count << 3);
    for (uint32_t at = 0; at < padded; at += BLOCK) {
        add_block(state, last + at);
    }
    for (unsigned i = 0; i < WORDS; i++) {
        store_big(digest + 4 * i, state[i]);
    }
}
