/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models in a memory that only a programmer writes.
 */
#include "board.h"
#include "port.h"

enum { UNIT = 4, ERASED = 0xFF };

typedef char check_sectors[BOARD_FLASH_BYTES % BOARD_FLASH_ERASE_BYTES == 0 ? 1 : -1];

static bool erase(uint32_t offset)
{
    (void)offset;
    return false;
}

static bool program(uint32_t offset, const uint8_t *unit)
{
    (void)offset;
    (void)unit;
    return false;
}

const struct port_flash *port_flash(void)
{
    static const struct port_flash flash = {
        .base = (const uint8_t *)BOARD_FLASH_BASE,
        .bytes = BOARD_FLASH_BYTES,
        .erase_bytes = BOARD_FLASH_ERASE_BYTES,
        .program_bytes = UNIT,
        .erased = ERASED,
        .erase = erase,
        .program = program,
    };
    return &flash;
}
