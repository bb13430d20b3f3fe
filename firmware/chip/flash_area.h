/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all flash drivers check and convert. A driver that went beyond the area of the models would
 * destroy the firmware.
 */
#ifndef NARROWS_FLASH_AREA_H
#define NARROWS_FLASH_AREA_H

#include <stdbool.h>
#include <stdint.h>

#include "board.h"

/* A board's file says what a driver knows. */
#define FLASH_HAS_SECTORS_OF(bytes) \
    typedef char check_erase_bytes[BOARD_FLASH_ERASE_BYTES == (bytes) ? 1 : -1]

/* Whether a sector or unit of this many bytes begins at the offset. */
static inline bool flash_has(uint32_t offset, uint32_t bytes)
{
    return offset < BOARD_FLASH_BYTES && offset % bytes == 0;
}

/* The bytes of a word in the order in which memory has them. */
static inline uint32_t flash_word(const uint8_t *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

#endif
