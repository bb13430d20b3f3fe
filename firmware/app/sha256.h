/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NARROWS_SHA256_H
#define NARROWS_SHA256_H

#include <stdint.h>

#define SHA256_BYTES 32

/* SHA-256 (FIPS 180-4) of so many bytes, below 2^29. */
void sha256(uint8_t digest[SHA256_BYTES], const uint8_t *bytes, uint32_t count);

#endif
