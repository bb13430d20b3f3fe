/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flash of STM32H742, H743 and H753 (RM0433 section 4): two banks of 1 MiB, sectors of 128 KiB,
 * words of 32 bytes with a code that corrects errors, so that each is programmed once. Where power
 * was cut, reading may find two wrong bits, which is a bus fault: the first call of port_flash
 * reads the area with faults masked and erases the sectors that have such a word. The data cache,
 * through which the area is read, must forget what erasing and programming change.
 */
#include "barrier.h"
#include "board.h"
#include "flash_area.h"
#include "port.h"
#include "registers.h"
#include "stm32_flash.h"

/* Bank 1's; bank 2's follow at SECOND_BANK. */
enum {
    KEYR = 0x52002004,
    CR = 0x5200200C,
    SR = 0x52002010,
    CCR = 0x52002014,
    SECOND_BANK = 0x100,
    BANK_BYTES = 0x100000
};
enum {
    CR_LOCK = 1 << 0,
    CR_PROGRAM = 1 << 1,
    CR_ERASE_SECTOR = 1 << 2,
    CR_DOUBLE_WORDS = 3 << 4, /* how many bits are programmed at a time */
    CR_START = 1 << 7,
    CR_SECTOR = 8 /* the position of its number */
};
enum { SR_BUSY = 1 << 0, SR_UNIT_NOT_FULL = 1 << 1, SR_QUEUED = 1 << 2 };
/* WRPERR, PGSERR, STRBERR, INCERR, OPERR, RDPERR, RDSERR; CCR clears them. */
enum { SR_ERRORS = 7 << 17 | 0xF << 21, SR_TWO_WRONG_BITS = 1 << 26, SR_ONE_WRONG_BIT = 1 << 25 };
enum { SECTOR = 0x20000, UNIT = 32, WORD = 4, ERASED = 0xFF, CACHE_LINE = 32 };
FLASH_HAS_SECTORS_OF(SECTOR);
#define CORE_CCR 0xE000ED14u
#define DCIMVAC 0xE000EF5Cu
enum { CCR_IGNORE_BUS_FAULTS = 1 << 8 }; /* BFHFNMIGN: while faults are masked */

typedef char check_sectors[(BOARD_FLASH_BASE | BOARD_FLASH_BYTES) % SECTOR == 0 ? 1 : -1];

/* Where the offset's bank has its registers, from bank 1's. */
static uint32_t bank_of(uint32_t offset)
{
    return (BOARD_FLASH_BASE + offset) % (2 * BANK_BYTES) >= BANK_BYTES ? SECOND_BANK : 0;
}

static void wait_while_busy(uint32_t bank)
{
    barrier();
    while ((reg_read(SR + bank) & (SR_BUSY | SR_UNIT_NOT_FULL | SR_QUEUED)) != 0) {
    }
}

static void begin(uint32_t bank, uint32_t control)
{
    while ((reg_read(SR + bank) & (SR_BUSY | SR_QUEUED)) != 0) {
    }
    stm32_flash_unlock(KEYR + bank, CR + bank, CR_LOCK);
    reg_write(CCR + bank, SR_ERRORS); /* errors of before would refuse the next operation */
    reg_write(CR + bank, CR_DOUBLE_WORDS | control);
}

/* Whether it worked. */
static bool end(uint32_t bank, uint32_t offset, uint32_t bytes)
{
    wait_while_busy(bank);
    const uint32_t errors = reg_read(SR + bank) & SR_ERRORS;
    reg_write(CCR + bank, errors);
    reg_write(CR + bank, CR_LOCK);
    for (uint32_t i = 0; i < bytes; i += CACHE_LINE) {
        reg_write(DCIMVAC, (uint32_t)BOARD_FLASH_BASE + offset + i);
    }
    barrier();
    return errors == 0;
}

static bool erase(uint32_t offset)
{
    if (!flash_has(offset, SECTOR)) {
        return false;
    }
    const uint32_t bank = bank_of(offset);
    const uint32_t sector = (BOARD_FLASH_BASE + offset) % BANK_BYTES / SECTOR << CR_SECTOR;
    begin(bank, CR_ERASE_SECTOR | sector);
    reg_write(CR + bank, CR_DOUBLE_WORDS | CR_ERASE_SECTOR | sector | CR_START);
    return end(bank, offset, SECTOR);
}

static bool program(uint32_t offset, const uint8_t *unit)
{
    if (!flash_has(offset, UNIT)) {
        return false;
    }
    const uint32_t bank = bank_of(offset);
    begin(bank, CR_PROGRAM);
    barrier();
    for (uint32_t i = 0; i < UNIT; i += WORD) {
        reg_write(BOARD_FLASH_BASE + offset + i, flash_word(unit + i));
    }
    return end(bank, offset, UNIT);
}

/* Whether the sector has a word that can't be read. Faults are off. */
static bool is_torn(uint32_t offset)
{
    const uint32_t bank = bank_of(offset);

    reg_write(CCR + bank, SR_TWO_WRONG_BITS | SR_ONE_WRONG_BIT);
    for (uint32_t i = 0; i < SECTOR; i += UNIT) {
        (void)reg_read(BOARD_FLASH_BASE + offset + i);
    }
    barrier();
    const bool torn = (reg_read(SR + bank) & SR_TWO_WRONG_BITS) != 0;
    reg_write(CCR + bank, SR_TWO_WRONG_BITS | SR_ONE_WRONG_BIT);
    return torn;
}

static void erase_torn(void)
{
    for (uint32_t offset = 0; offset < BOARD_FLASH_BYTES; offset += SECTOR) {
        mask_faults();
        const uint32_t ccr = reg_read(CORE_CCR);
        reg_write(CORE_CCR, ccr | CCR_IGNORE_BUS_FAULTS);
        barrier();
        const bool torn = is_torn(offset);
        reg_write(CORE_CCR, ccr);
        barrier();
        unmask_faults();
        if (torn) {
            (void)erase(offset);
        }
    }
}

const struct port_flash *port_flash(void)
{
    static const struct port_flash flash = {
        .base = (const uint8_t *)BOARD_FLASH_BASE,
        .bytes = BOARD_FLASH_BYTES,
        .erase_bytes = SECTOR,
        .program_bytes = UNIT,
        .erased = ERASED,
        .erase = erase,
        .program = program,
    };
    static bool has_begun;

    if (!has_begun) {
        has_begun = true;
        erase_torn();
    }
    return &flash;
}
