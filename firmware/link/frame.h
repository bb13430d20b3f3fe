/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames: type, number, payload, CRC-32 (PROTOCOL.md).
 */
#ifndef NARROWS_FRAME_H
#define NARROWS_FRAME_H

#include <stdbool.h>
#include <stdint.h>

enum { NRW_FRAME_HEADER = 3, NRW_FRAME_CRC = 4 };

static inline uint16_t nrw_load16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static inline uint32_t nrw_load32(const uint8_t *bytes)
{
    return nrw_load16(bytes) | (uint32_t)nrw_load16(bytes + 2) << 16;
}

static inline uint8_t *nrw_store16(uint8_t *bytes, uint32_t value)
{
    bytes[0] = (uint8_t)value;
    bytes[1] = (uint8_t)(value >> 8);
    return bytes + 2;
}

static inline uint8_t *nrw_store32(uint8_t *bytes, uint32_t value)
{
    return nrw_store16(nrw_store16(bytes, value), value >> 16);
}

/* Whether a packet of `count` bytes is a frame: long enough, CRC right. */
bool nrw_frame_is_good(const uint8_t *packet, uint32_t count);

/* Put header and CRC around a payload that stands at packet + NRW_FRAME_HEADER already.
 * Returns the size of the whole packet. */
uint32_t nrw_frame_seal(uint8_t *packet, uint8_t type, uint16_t number, uint32_t payload_bytes);

#endif
