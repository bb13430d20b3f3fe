/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flash of STM32F2 and F4 (PM0059, RM0090 section 3): sectors of 128 KiB, words of 4 bytes.
 * Words want a supply from 2.7 V on. An area begins at the earliest behind the smaller sectors, 128
 * KiB from the start of its bank of 1 MiB, and does not go beyond the bank. The core stands still
 * while a sector is erased, for 2 seconds or less.
 */
#include "barrier.h"
#include "board.h"
#include "flash_area.h"
#include "port.h"
#include "registers.h"
#include "stm32_flash.h"

enum {
    ACR = 0x40023C00,
    KEYR = 0x40023C04,
    SR = 0x40023C0C,
    CR = 0x40023C10,
    BANK_BYTES = 0x100000
};
enum { ACR_DATA_CACHE = 1 << 10, ACR_DATA_CACHE_RESET = 1 << 12 };
enum { SR_ERRORS = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8, SR_BUSY = 1 << 16 };
enum {
    CR_PROGRAM = 1 << 0,
    CR_ERASE_SECTOR = 1 << 1,
    CR_SECTOR = 3, /* the position of its number */
    CR_WORDS = 2 << 8,
    CR_START = 1 << 16
};
#define CR_LOCK 0x80000000u
enum { SECTOR = 0x20000, SMALL_SECTORS = 4, SECOND_BANK = 16, UNIT = 4, ERASED = 0xFF };
FLASH_HAS_SECTORS_OF(SECTOR);

typedef char check_base[BOARD_FLASH_BASE % BANK_BYTES >= SECTOR ? 1 : -1];
typedef char check_bytes[BOARD_FLASH_BASE % BANK_BYTES + BOARD_FLASH_BYTES <= BANK_BYTES ? 1 : -1];
typedef char check_sectors[(BOARD_FLASH_BASE | BOARD_FLASH_BYTES) % SECTOR == 0 ? 1 : -1];

static void wait_while_busy(void)
{
    while ((reg_read(SR) & SR_BUSY) != 0) {
    }
}

static void begin(uint32_t control)
{
    wait_while_busy();
    stm32_flash_unlock(KEYR, CR, CR_LOCK);
    reg_write(SR, SR_ERRORS); /* errors of before would refuse the next operation */
    reg_write(CR, CR_WORDS | control);
}

/* Whether it worked. */
static bool end(void)
{
    barrier();
    wait_while_busy();
    const uint32_t errors = reg_read(SR) & SR_ERRORS;
    reg_write(SR, errors);
    reg_write(CR, CR_LOCK);
    return errors == 0;
}

/* The data cache keeps what was erased. It may be reset only while it is off. */
static void reset_data_cache(void)
{
    const uint32_t acr = reg_read(ACR);
    const uint32_t off = acr & ~(uint32_t)ACR_DATA_CACHE;

    reg_write(ACR, off);
    reg_write(ACR, off | ACR_DATA_CACHE_RESET);
    reg_write(ACR, off);
    reg_write(ACR, acr);
}

static bool erase(uint32_t offset)
{
    if (!flash_has(offset, SECTOR)) {
        return false;
    }
    const uint32_t address = BOARD_FLASH_BASE % (2 * BANK_BYTES) + offset;
    const uint32_t number = address / BANK_BYTES * SECOND_BANK + SMALL_SECTORS +
                            address % BANK_BYTES / SECTOR;
    begin(CR_ERASE_SECTOR | number << CR_SECTOR);
    reg_write(CR, CR_WORDS | CR_ERASE_SECTOR | number << CR_SECTOR | CR_START);
    const bool done = end();
    reset_data_cache();
    return done;
}

static bool program(uint32_t offset, const uint8_t *unit)
{
    if (!flash_has(offset, UNIT)) {
        return false;
    }
    begin(CR_PROGRAM);
    reg_write(BOARD_FLASH_BASE + offset, flash_word(unit));
    return end();
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
    return &flash;
}
