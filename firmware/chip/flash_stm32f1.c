/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flash of STM32F0, F1 and F3 (PM0063 and PM0075 for F1): half words of 2 bytes, which are
 * programmed by pairs here. The internal oscillator must run, as it does after a reset. The core
 * stands still meanwhile.
 * A page has 1024 bytes, or 2048 from 256 KiB of flash on.
 */
#include "barrier.h"
#include "board.h"
#include "flash_area.h"
#include "port.h"
#include "registers.h"
#include "stm32_flash.h"

enum { KEYR = 0x40022004, SR = 0x4002200C, CR = 0x40022010, AR = 0x40022014 };
enum { SR_BUSY = 1 << 0, SR_NOT_ERASED = 1 << 2, SR_PROTECTED = 1 << 4, SR_DONE = 1 << 5 };
enum { CR_PROGRAM = 1 << 0, CR_ERASE_PAGE = 1 << 1, CR_START = 1 << 6, CR_LOCK = 1 << 7 };
enum { SR_ERRORS = SR_NOT_ERASED | SR_PROTECTED, UNIT = 4, HALF = 2, ERASED = 0xFF };

typedef char check_pages[BOARD_FLASH_BYTES % BOARD_FLASH_ERASE_BYTES == 0 ? 1 : -1];

static void wait_while_busy(void)
{
    barrier();
    while ((reg_read(SR) & SR_BUSY) != 0) {
    }
}

static void begin(uint32_t control)
{
    wait_while_busy();
    stm32_flash_unlock(KEYR, CR, CR_LOCK);
    reg_write(SR, SR_ERRORS | SR_DONE);
    reg_write(CR, control);
}

/* Whether it worked. */
static bool end(void)
{
    wait_while_busy();
    const uint32_t errors = reg_read(SR) & SR_ERRORS;
    reg_write(SR, SR_ERRORS | SR_DONE);
    reg_write(CR, CR_LOCK);
    return errors == 0;
}

static bool erase(uint32_t offset)
{
    if (!flash_has(offset, BOARD_FLASH_ERASE_BYTES)) {
        return false;
    }
    begin(CR_ERASE_PAGE);
    reg_write(AR, (uint32_t)BOARD_FLASH_BASE + offset);
    reg_write(CR, CR_ERASE_PAGE | CR_START);
    (void)reg_read(SR); /* the busy flag comes a cycle late on some chips */
    return end();
}

static bool program(uint32_t offset, const uint8_t *unit)
{
    if (!flash_has(offset, UNIT)) {
        return false;
    }
    begin(CR_PROGRAM);
    for (uint32_t i = 0; i < UNIT; i += HALF) {
        reg_write16(BOARD_FLASH_BASE + offset + i, (uint16_t)(unit[i] | unit[i + 1] << 8));
        wait_while_busy();
    }
    return end();
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
