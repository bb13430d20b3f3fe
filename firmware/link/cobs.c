/* SPDX-License-Identifier: Apache-2.0 */
#include "cobs.h"

enum { FULL_BLOCK = 0xFF };   /* 254 bytes without a zero behind them */

void nrw_cobs_begin(struct nrw_cobs *cobs, uint8_t *bytes, uint32_t size)
{
    *cobs = (struct nrw_cobs){.bytes = bytes, .size = size};
}

static void append(struct nrw_cobs *cobs, uint8_t byte)
{
    if (cobs->count == cobs->size) {
        cobs->bad = true;
    } else {
        cobs->bytes[cobs->count++] = byte;
    }
}

int32_t nrw_cobs_push(struct nrw_cobs *cobs, uint8_t byte)
{
    if (byte == 0) {
        const struct nrw_cobs packet = *cobs;
        nrw_cobs_begin(cobs, cobs->bytes, cobs->size);
        if (packet.code == 0) {
            return NRW_COBS_MORE; /* zeros between packets */
        }
        return packet.bad || packet.left > 0 || packet.count == 0 ? NRW_COBS_BAD
                                                                  : (int32_t)packet.count;
    }
    if (cobs->left > 0) {
        append(cobs, byte);
        cobs->left--;
    } else {
        if (cobs->code != 0 && cobs->code != FULL_BLOCK) {
            append(cobs, 0);
        }
        cobs->code = byte;
        cobs->left = (uint8_t)(byte - 1);
    }
    return NRW_COBS_MORE;
}

void nrw_cobs_send(const uint8_t *bytes, uint32_t count, void (*send)(uint8_t byte))
{
    uint32_t at = 0;
    bool more = true;

    send(0);
    while (more) {
        uint32_t end = at;
        while (end < count && end - at < FULL_BLOCK - 1 && bytes[end] != 0) {
            end++;
        }
        const bool full = end - at == FULL_BLOCK - 1;
        more = end < count;
        send((uint8_t)(end - at + 1));
        while (at < end) {
            send(bytes[at++]);
        }
        at += full ? 0 : 1;   /* the zero that the block stands for */
    }
    send(0);
}
