/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flash of nRF51 (reference manual 3.0, section 6) and nRF52 (nRF52840 product specification
 * 1.1, section 4.3). Its controller reports no errors; reading back shows them. The core stands
 * still while a page is erased.
 * A page has 1024 bytes on nRF51, 4096 on nRF52.
 */
#include "board.h"
#include "flash_area.h"
#include "port.h"
#include "registers.h"

enum {
    NVMC_READY = 0x4001E400,
    NVMC_CONFIG = 0x4001E504,
    NVMC_ERASEPAGE = 0x4001E508
};
enum { READ_ONLY, WRITE_ENABLED, ERASE_ENABLED }; /* NVMC_CONFIG */
enum { UNIT = 4, ERASED = 0xFF };

typedef char check_pages[BOARD_FLASH_BYTES % BOARD_FLASH_ERASE_BYTES == 0 ? 1 : -1];

/* Once what is under way is done. */
static void allow(uint32_t what)
{
    while ((reg_read(NVMC_READY) & 1) == 0) {
    }
    reg_write(NVMC_CONFIG, what);
}

static bool erase(uint32_t offset)
{
    if (!flash_has(offset, BOARD_FLASH_ERASE_BYTES)) {
        return false;
    }
    allow(ERASE_ENABLED);
    reg_write(NVMC_ERASEPAGE, (uint32_t)(BOARD_FLASH_BASE + offset));
    allow(READ_ONLY);
    return true;
}

static bool program(uint32_t offset, const uint8_t *unit)
{
    if (!flash_has(offset, UNIT)) {
        return false;
    }
    allow(WRITE_ENABLED);
    reg_write(BOARD_FLASH_BASE + offset, flash_word(unit));
    allow(READ_ONLY);
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
