/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models in memory that is written like any other, and forgets them without power.
 */
#include <string.h>

#include "board.h"
#include "port.h"

enum { ERASED = 0xFF };

static bool erase(uint32_t offset)
{
    memset((uint8_t *)BOARD_FLASH_BASE + offset, ERASED, BOARD_FLASH_ERASE_BYTES);
    return true;
}

static bool program(uint32_t offset, const uint8_t *unit)
{
    memcpy((uint8_t *)BOARD_FLASH_BASE + offset, unit, PORT_FLASH_MOST_UNIT);
    return true;
}

const struct port_flash *port_flash(void)
{
    static const struct port_flash flash = {
        .base = (const uint8_t *)BOARD_FLASH_BASE,
        .bytes = BOARD_FLASH_BYTES,
        .erase_bytes = BOARD_FLASH_ERASE_BYTES,
        .program_bytes = PORT_FLASH_MOST_UNIT,
        .erased = ERASED,
        .erase = erase,
        .program = program,
    };

    return &flash;
}
