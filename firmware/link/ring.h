/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Received bytes: written by one interrupt, read by the main loop, so neither waits.
 */
#ifndef NARROWS_RING_H
#define NARROWS_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "board.h"

enum { NRW_RING_BYTES = BOARD_RECEIVE_BYTES }; /* a power of two */

struct nrw_ring {
    volatile uint32_t written; /* counts of all bytes so far, modulo 2^32 */
    volatile uint32_t read;
    volatile uint32_t overruns; /* bytes that found no room */
    volatile uint8_t bytes[NRW_RING_BYTES];
};

static inline bool nrw_ring_is_empty(const struct nrw_ring *ring)
{
    return ring->written == ring->read;
}

static inline void nrw_ring_put(struct nrw_ring *ring, uint8_t byte)
{
    const uint32_t written = ring->written;

    if (written - ring->read == NRW_RING_BYTES) {
        ring->overruns++;
    } else {
        ring->bytes[written % NRW_RING_BYTES] = byte;
        ring->written = written + 1;
    }
}

/* Only when it is not empty. */
static inline uint8_t nrw_ring_take(struct nrw_ring *ring)
{
    const uint32_t read = ring->read;
    const uint8_t byte = ring->bytes[read % NRW_RING_BYTES];

    ring->read = read + 1;
    return byte;
}

#endif
