/* SPDX-License-Identifier: Apache-2.0 */
/* Prints the hash of what comes from standard input. */
#include <stdio.h>

#include "sha256.h"

int main(void)
{
    static uint8_t bytes[1 << 20];
    const size_t count = fread(bytes, 1, sizeof bytes, stdin);
    uint8_t digest[SHA256_BYTES];

    sha256(digest, bytes, (uint32_t)count);
    for (int i = 0; i < SHA256_BYTES; i++) {
        printf("%02x", digest[i]);
    }
    return 0;
}
