/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verification of Ed25519 signatures (RFC 8032, section 5.1), small first.
 *
 * Everything that is verified is public, so the time that it takes may depend on the data. At -Os,
 * with SHA-512 and a message of 48 bytes (measured by tests/store/test_ed25519.py):
 *
 *                 flash   stack   instructions
 *   Cortex-M0     3.6 KB  292 B   21.4 million
 *   Cortex-M4     3.8 KB  268 B    5.4 million
 */
#ifndef NARROWS_ED25519_H
#define NARROWS_ED25519_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "sha512.h"

#define ED25519_KEY_BYTES 32
#define ED25519_SIGNATURE_BYTES 64

/* Numbers consist of limbs, and two limbs are multiplied into one integer of twice their width. So
 * 32 bits are for cores that multiply into 64 bits, and 16 bits for those that do not: ARMv6-M,
 * ARMv8-M Baseline, and where an int has 16 bits. */
#ifndef ED25519_LIMB_BITS
#if defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__) || INT_MAX == 0x7FFF
#define ED25519_LIMB_BITS 16
#else
#define ED25519_LIMB_BITS 32
#endif
#endif

#if ED25519_LIMB_BITS == 16
typedef uint16_t ed25519_limb;
#else
typedef uint32_t ed25519_limb;
#endif

/* 256 bits, the least significant limb first. */
struct ed25519_number {
    ed25519_limb limbs[256 / ED25519_LIMB_BITS];
};

/* In extended coordinates: the point (x / z, y / z), with t = x * y / z. */
struct ed25519_point {
    struct ed25519_number x, y, z, t;
};

/* What a verification works with: ED25519_SCRATCH_BYTES, aligned to 8, any contents. The fields are
 * ed25519.c's own, and nothing of them is needed afterwards. */
struct ed25519_scratch {
    struct ed25519_number s, h; /* factors of the base point and of the key */
    union {
        struct {
            struct sha512 sha;
            uint8_t digest[SHA512_BYTES];
        } hashing; /* is over before the curve begins */
        struct {
            struct ed25519_point table[3];       /* base point, minus the key, their sum */
            struct ed25519_point sum;
            struct ed25519_number temporaries[5];
        } curve;
    } phase;
};
#define ED25519_SCRATCH_BYTES 736

/* Is it the key's signature of the message?
 *
 * signature: R (32 bytes) and S (32 bytes), little-endian. key: the public key A.
 * message: `count` bytes, less than 2^32 - 64. scratch: overlaps none of the three.
 *
 * True if R is the encoding of S * B - h * A, where h = SHA-512(R, A, message) mod L. This is the
 * equation without the cofactor, so verifiers that multiply by 8 may accept more. What does not
 * fulfil it is refused. Refused in any case, as by libsodium and ed25519-dalek's verify_strict, is
 *   - S >= L, the order of the base point: such an S is another form of S mod L;
 *   - a key whose y is 2^255 - 19 or more, which is no canonical encoding;
 *   - a key of x = 0 with the sign bit set, which is none either;
 *   - a key that is no point of the curve;
 *   - a key of small order (1, 2, 4 or 8), which has signatures that fit many messages;
 *   - an R that is not canonical, because its bytes are compared;
 *   - an R of small order.
 * A key of large order that is no multiple of the base point, which no key generator gives, is not
 * refused for that. */
bool ed25519_verify(const uint8_t signature[ED25519_SIGNATURE_BYTES],
                    const uint8_t key[ED25519_KEY_BYTES], const uint8_t *message, uint32_t count,
                    struct ed25519_scratch *scratch);

#endif
