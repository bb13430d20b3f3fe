/* SPDX-License-Identifier: Apache-2.0 */
#include "frame.h"

#include "crc32.h"

bool nrw_frame_is_good(const uint8_t *packet, uint32_t count)
{
    if (count < NRW_FRAME_HEADER + NRW_FRAME_CRC) {
        return false;
    }
    const uint32_t body = count - NRW_FRAME_CRC;
    return nrw_load32(packet + body) == nrw_crc32(packet, body);
}

uint32_t nrw_frame_seal(uint8_t *packet, uint8_t type, uint16_t number, uint32_t payload_bytes)
{
    const uint32_t body = NRW_FRAME_HEADER + payload_bytes;

    packet[0] = type;
    nrw_store16(packet + 1, number);
    nrw_store32(packet + body, nrw_crc32(packet, body));
    return body + NRW_FRAME_CRC;
}
