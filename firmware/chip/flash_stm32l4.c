/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flash of STM32L4+ with two banks (RM0432 section 3): pages of 4 KiB, double words of 8 bytes
 * with a code that corrects errors, so that each is programmed once. Where power was cut, reading
 * may find two wrong bits in a double word, which an NMI tells: nmi_interrupt forgives it, and who
 * reads sees that the bytes are not what they should be.
 *   flash_bank_bytes  0x100000 where the chip has 2 MiB, 0x80000 where it has 1 MiB
 */
#include "barrier.h"
#include "board.h"
#include "flash_area.h"
#include "port.h"
#include "registers.h"
#include "stm32_flash.h"

enum {
    ACR = 0x40022000,
    KEYR = 0x40022008,
    SR = 0x40022010,
    CR = 0x40022014,
    ECCR = 0x40022018,
    OPTR = 0x40022020
};
enum { ACR_DATA_CACHE = 1 << 10, ACR_DATA_CACHE_RESET = 1 << 12 };
/* OPERR, PROGERR, WRPERR, PGAERR, SIZERR, PGSERR, MISERR, FASTERR, RDERR, OPTVERR. */
enum { SR_ERRORS = 1 << 1 | 0x7F << 3 | 1 << 14 | 1 << 15, SR_BUSY = 1 << 16 };
enum {
    CR_PROGRAM = 1 << 0,
    CR_ERASE_PAGE = 1 << 1,
    CR_PAGE = 3, /* the position of its number */
    CR_SECOND_BANK = 1 << 11,
    CR_START = 1 << 16
};
#define CR_LOCK 0x80000000u
#define ECCR_TWO_WRONG_BITS 0x80000000u
enum { OPTR_DUAL_BANK = BOARD_FLASH_BANK_BYTES >= 0x100000 ? 1 << 22 : 1 << 21 };
enum { PAGE = 4096, UNIT = 8, ERASED = 0xFF, START = 0x08000000 };
FLASH_HAS_SECTORS_OF(PAGE);

typedef char check_pages[(BOARD_FLASH_BASE | BOARD_FLASH_BYTES) % PAGE == 0 ? 1 : -1];

bool nmi_interrupt(void);

/* Whether the NMI is one that can be forgiven. */
bool nmi_interrupt(void)
{
    if ((reg_read(ECCR) & ECCR_TWO_WRONG_BITS) == 0) {
        return false;
    }
    reg_write(ECCR, reg_read(ECCR)); /* its flags are cleared by writing them */
    return true;
}

static void wait_while_busy(void)
{
    barrier();
    while ((reg_read(SR) & SR_BUSY) != 0) {
    }
}

/* The errata want the data cache off while the flash changes. Returns what end wants. */
static uint32_t begin(uint32_t control)
{
    const uint32_t acr = reg_read(ACR);

    wait_while_busy();
    reg_write(ACR, acr & ~(uint32_t)ACR_DATA_CACHE);
    stm32_flash_unlock(KEYR, CR, CR_LOCK);
    reg_write(SR, SR_ERRORS); /* errors of before would refuse the next operation */
    reg_write(CR, control);
    return acr;
}

/* Whether it worked. */
static bool end(uint32_t acr)
{
    const uint32_t off = acr & ~(uint32_t)ACR_DATA_CACHE;

    wait_while_busy();
    const uint32_t errors = reg_read(SR) & SR_ERRORS;
    reg_write(SR, errors);
    reg_write(CR, CR_LOCK);
    reg_write(ACR, off | ACR_DATA_CACHE_RESET);
    reg_write(ACR, off);
    reg_write(ACR, acr);
    return errors == 0;
}

static bool erase(uint32_t offset)
{
    /* With one bank, pages are larger and programmed otherwise. */
    if (!flash_has(offset, PAGE) || (reg_read(OPTR) & OPTR_DUAL_BANK) == 0) {
        return false;
    }
    const uint32_t address = (uint32_t)BOARD_FLASH_BASE - START + offset;
    const uint32_t page = CR_ERASE_PAGE | address % BOARD_FLASH_BANK_BYTES / PAGE << CR_PAGE |
                          (address >= BOARD_FLASH_BANK_BYTES ? CR_SECOND_BANK : 0);
    const uint32_t acr = begin(page);
    reg_write(CR, page | CR_START);
    return end(acr);
}

static bool program(uint32_t offset, const uint8_t *unit)
{
    if (!flash_has(offset, UNIT)) {
        return false;
    }
    const uint32_t acr = begin(CR_PROGRAM);
    reg_write(BOARD_FLASH_BASE + offset, flash_word(unit));
    barrier(); /* the second word starts it, and must come second */
    reg_write(BOARD_FLASH_BASE + offset + 4, flash_word(unit + 4));
    return end(acr);
}

const struct port_flash *port_flash(void)
{
    static const struct port_flash flash = {
        .base = (const uint8_t *)BOARD_FLASH_BASE,
        .bytes = BOARD_FLASH_BYTES,
        .erase_bytes = PAGE,
        .program_bytes = UNIT,
        .erased = ERASED,
        .erase = erase,
        .program = program,
    };
    return &flash;
}
