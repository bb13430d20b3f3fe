/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-512 of standard input's first FIRST bytes, of one more, and so on to all of them, in a line
 * each. The bytes are added PIECE at a time. */
#include <stdio.h>
#include <stdlib.h>

#include "sha512.h"

int main(int argc, char **argv)
{
    static uint8_t bytes[1 << 20];
    const uint32_t count = (uint32_t)fread(bytes, 1, sizeof bytes, stdin);

    if (argc != 3) {
        return 2;
    }
    const uint32_t piece = (uint32_t)strtoul(argv[2], NULL, 10);
    for (uint32_t length = (uint32_t)strtoul(argv[1], NULL, 10); length <= count; length++) {
        struct sha512 hash;
        uint8_t digest[SHA512_BYTES];

        sha512_begin(&hash);
        for (uint32_t at = 0; at < length; at += piece) {
            sha512_add(&hash, bytes + at, length - at < piece ? length - at : piece);
        }
        sha512_end(&hash, digest);
        for (int i = 0; i < SHA512_BYTES; i++) {
            printf("%02x", digest[i]);
        }
        printf("\n");
    }
    return 0;
}
