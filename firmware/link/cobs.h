/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Consistent overhead byte stuffing: a packet without zero bytes, between two zeros.
 */
#ifndef NARROWS_COBS_H
#define NARROWS_COBS_H

#include <stdbool.h>
#include <stdint.h>

enum { NRW_COBS_MORE = -1, NRW_COBS_BAD = -2 };

/* Undoes the stuffing byte by byte into the caller's buffer. */
struct nrw_cobs {
    uint8_t *bytes;
    uint32_t size;
    uint32_t count;
    uint8_t code;             /* of the block that is being read; 0 before the first */
    uint8_t left;             /* bytes of that block still to come */
    bool bad;                 /* longer than the buffer, or cut short: wait for a zero */
};

void nrw_cobs_begin(struct nrw_cobs *cobs, uint8_t *bytes, uint32_t size);

/* Take one byte from the line. Returns NRW_COBS_MORE, NRW_COBS_BAD (a packet that is none has
 * ended), or the size of the whole packet that now stands in the buffer, 1 or more. It is
 * overwritten from the next byte on. */
int32_t nrw_cobs_push(struct nrw_cobs *cobs, uint8_t byte);

/* Give a packet to the line byte by byte, between two zeros. The first ends whatever else the
 * line carries (log text, a packet that was cut short), so that it does not spoil this packet. */
void nrw_cobs_send(const uint8_t *bytes, uint32_t count, void (*send)(uint8_t byte));

#endif
