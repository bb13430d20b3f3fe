/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models in memory that is written like any other, and forgets them with the power.
 */
#include <string.h>

#include "board.h"
#include "flash_area.h"
#include "port.h"

enum { UNIT = 16, ERASED = 0xFF };

typedef char check_sectors[BOARD_FLASH_BYTES % BOARD_FLASH_ERASE_BYTES == 0 ? 1 : -1];

static bool erase(uint32_t offset)
{
    if (!flash_has(offset, BOARD_FLASH_ERASE_BYTES)) {
        return false;
    }
    memset((uint8_t *)BOARD_FLASH_BASE + offset, ERASED, BOARD_FLASH_ERASE_BYTES);
    return true;
}

static bool program(uint32_t offset, const uint8_t *unit)
{
    if (!flash_has(offset, UNIT)) {
        return false;
    }
    memcpy((uint8_t *)BOARD_FLASH_BASE + offset, unit, UNIT);
    return true;
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
