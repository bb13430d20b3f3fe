/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STM32L4 reads units that the power's end has torn: their NMIs are forgiven, others are not.
 */
#include "board.h"
#include "flash_model.h"
#include "port.h"
#include "torn.h"

bool nmi_interrupt(void);

void test(void)
{
    (void)model_begin();
    REQUIRE(port_flash()->bytes == BOARD_FLASH_BYTES);
    for (uint32_t i = 0; i < 10; i++) {
        const uint32_t unit = drawn(BOARD_FLASH_BYTES / model_unit) * model_unit;
        REQUIRE(!nmi_interrupt());
        model_tear(unit);
        REQUIRE(model_touch(unit) && nmi_interrupt());
        REQUIRE(!nmi_interrupt());
        REQUIRE(port_flash()->erase(unit / model_erase_bytes * model_erase_bytes));
        REQUIRE(!model_touch(unit));
    }
    REQUIRE(model_is_at_rest());
}
