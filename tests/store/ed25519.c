/* SPDX-License-Identifier: Apache-2.0 */
/* For each record of standard input, 1 if the signature is good, else 0. A record is the message's
 * length (u32, little-endian), 64 bytes of signature, 32 of key, and the message. Each is verified
 * in blocks of its own, so that the sanitizer sees every byte that is touched beyond them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ed25519.h"

static uint8_t *read_block(size_t count)
{
    uint8_t *block = malloc(count > 0 ? count : 1);

    if (block == NULL || fread(block, 1, count, stdin) != count) {
        exit(2);
    }
    return block;
}

int main(void)
{
    uint8_t head[4];

    while (fread(head, 1, sizeof head, stdin) == sizeof head) {
        const uint32_t count = head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16 |
                               (uint32_t)head[3] << 24;
        uint8_t *signature = read_block(ED25519_SIGNATURE_BYTES);
        uint8_t *key = read_block(ED25519_KEY_BYTES);
        uint8_t *message = read_block(count);
        struct ed25519_scratch *scratch = malloc(sizeof *scratch);

        if (scratch == NULL) {
            return 2;
        }
        memset(scratch, 0xA5, sizeof *scratch);
        putchar(ed25519_verify(signature, key, message, count, scratch) ? '1' : '0');
        free(scratch);
        free(message);
        free(key);
        free(signature);
    }
    return 0;
}
