/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A memory that only a programmer writes is read as it is, and refuses everything else.
 */
#include "board.h"
#include "flash_model.h"
#include "port.h"

void test(void)
{
    uint8_t *cells = model_begin();
    const struct port_flash *flash = port_flash();
    const uint8_t unit[PORT_FLASH_MOST_UNIT] = {0};

    cells[BOARD_FLASH_BYTES - 1] = 123;
    REQUIRE(flash->base == (const uint8_t *)BOARD_FLASH_BASE && flash->bytes == BOARD_FLASH_BYTES);
    REQUIRE(flash->base[BOARD_FLASH_BYTES - 1] == 123);
    REQUIRE(flash->bytes % flash->erase_bytes == 0);
    REQUIRE(flash->erase_bytes % flash->program_bytes == 0);
    REQUIRE(!flash->erase(0) && !flash->program(0, unit));
}
