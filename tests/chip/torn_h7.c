/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STM32H7 starts with units that the power's end has torn: their sectors are erased, nothing else.
 */
#include "board.h"
#include "flash_model.h"
#include "port.h"
#include "torn.h"

void test(void)
{
    uint8_t *cells = model_begin();
    static bool is_torn[BOARD_FLASH_BYTES];

    for (uint32_t i = 0; i < BOARD_FLASH_BYTES; i++) {
        cells[i] = (uint8_t)(i % 255);
    }
    for (uint32_t i = 0; i < 3; i++) {
        const uint32_t unit = drawn(BOARD_FLASH_BYTES / model_unit) * model_unit;
        model_tear(unit);
        is_torn[unit / model_erase_bytes] = true;
    }
    const struct port_flash *flash = port_flash();
    uint32_t erased = 0;
    for (uint32_t at = 0; at < BOARD_FLASH_BYTES; at += model_erase_bytes) {
        const bool torn = is_torn[at / model_erase_bytes];
        erased += torn;
        for (uint32_t i = at; i < at + model_erase_bytes; i++) {
            REQUIRE(flash->base[i] == (torn ? 0xFF : i % 255));
            REQUIRE(i % model_unit != 0 || !model_touch(i));
        }
    }
    REQUIRE(model_operations() == erased && model_is_at_rest());
    REQUIRE(port_flash() == flash && model_operations() == erased);
}
