/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NARROWS_SHA512_H
#define NARROWS_SHA512_H

#include <stdint.h>

#define SHA512_BYTES 64

/* A hash under way. The fields are sha512.c's own. */
struct sha512 {
    uint64_t state[8];
    uint64_t work[8];   /* the eight variables of the rounds */
    uint64_t block[16]; /* bytes that fill no block yet; during the rounds the message schedule */
    uint32_t count;     /* bytes so far */
};

/* SHA-512 (FIPS 180-4) of the bytes of all calls of sha512_add between sha512_begin and sha512_end,
 * less than 2^32 in all. */
void sha512_begin(struct sha512 *hash);
void sha512_add(struct sha512 *hash, const uint8_t *bytes, uint32_t count);
void sha512_end(struct sha512 *hash, uint8_t digest[SHA512_BYTES]);

#endif
