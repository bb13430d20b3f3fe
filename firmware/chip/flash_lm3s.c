/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flash of the LM3S6965 (data sheet, "Internal Memory"): pages of 1 KiB, words of 4 bytes.
 *   core_hz  the core's clock, from which the controller times its pulses
 */
#include "board.h"
#include "flash_area.h"
#include "port.h"
#include "registers.h"

enum {
    FMA = 0x400FD000,   /* address */
    FMD = 0x400FD004,   /* data */
    FMC = 0x400FD008,   /* control */
    FCRIS = 0x400FD00C, /* raw interrupts */
    FCMISC = 0x400FD014,
    USECRL = 0x400FE140 /* clocks in a microsecond, less one */
};
enum { WRITE = 1 << 0, ERASE = 1 << 1 }; /* FMC; the bit stays until it is done */
enum { REFUSED = 1 << 0 };               /* FCRIS, FCMISC: the block is protected */
#define FMC_KEY 0xA4420000u
enum { PAGE = 1024, UNIT = 4, ERASED = 0xFF };
FLASH_HAS_SECTORS_OF(PAGE);

typedef char check_pages[(BOARD_FLASH_BASE | BOARD_FLASH_BYTES) % PAGE == 0 ? 1 : -1];

static bool run(uint32_t offset, uint32_t command)
{
    reg_write(USECRL, BOARD_CORE_HZ / 1000000 - 1);
    reg_write(FCMISC, REFUSED);
    reg_write(FMA, (uint32_t)(BOARD_FLASH_BASE + offset));
    reg_write(FMC, FMC_KEY | command);
    while ((reg_read(FMC) & command) != 0) {
    }
    return (reg_read(FCRIS) & REFUSED) == 0;
}

static bool erase(uint32_t offset)
{
    return flash_has(offset, PAGE) && run(offset, ERASE);
}

static bool program(uint32_t offset, const uint8_t *unit)
{
    if (!flash_has(offset, UNIT)) {
        return false;
    }
    reg_write(FMD, flash_word(unit));
    return run(offset, WRITE);
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
