/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The serial flash from which RP2040 and RP2350 run, through functions of their boot ROM: sectors
 * of 4 KiB and pages of 256 bytes, of which a unit is a part: what is programmed as 0xFF stays as
 * it is. While the flash changes, nothing can be read from it, code included: change() and all that
 * it uses stand in RAM, and interrupts wait, for up to 400 ms, so the timer must not be one that
 * counts by interrupts.
 */
#ifndef NARROWS_FLASH_RP2_H
#define NARROWS_FLASH_RP2_H

#include <stddef.h>

#include "barrier.h"
#include "board.h"
#include "flash_area.h"
#include "port.h"
#include "registers.h"

enum { SECTOR = 4096, PAGE = 256, UNIT = 64, ERASED = 0xFF };
FLASH_HAS_SECTORS_OF(SECTOR);
enum { BLOCK = 65536, ERASE_BLOCK = 0xD8, SETUP_WORDS = 64 };
#define XIP_BASE 0x10000000u

typedef char check_sectors[(BOARD_FLASH_BASE | BOARD_FLASH_BYTES) % SECTOR == 0 ? 1 : -1];

#ifdef REGISTERS_MODEL
/* Defined by the model of a chip. Its function "--" is that of the code at setup_code(). */
uintptr_t model_rom_function(uint32_t code);
#endif

/* Given by the chip's driver: a function of the boot ROM, by its two letters. */
static uintptr_t rom_function(char first, char second);
/* Where the code stands that makes the flash readable again. */
static uintptr_t setup_code(void);

static struct {
    void (*connect)(void);
    void (*exit_xip)(void);
    void (*erase)(uint32_t offset, size_t count, uint32_t block_bytes, uint8_t block_command);
    void (*program)(uint32_t offset, const uint8_t *bytes, size_t count);
    void (*flush)(void);
    void (*enter_xip)(void);
} rom;
static uint32_t setup[SETUP_WORDS];

#if defined __arm__ && defined __clang__
/* Startup copies it with the variables. Clang's linker makes calls reach as far as they must. */
#define IN_RAM __attribute__((section(".data.ramcode"), noinline))
#elif defined __arm__
/* Startup copies it with the variables. The rest of the line is a comment to the assembler, which
 * would otherwise complain about code among data. */
#define IN_RAM __attribute__((section(".data.ramcode,\"aw\",%progbits @"), noinline, long_call))
#else
#define IN_RAM __attribute__((noinline))
#endif
static void change(uint32_t offset, const uint8_t *page) IN_RAM;

/* Program a page, or erase a sector without one. The offset counts from the start of the flash. */
static void change(uint32_t offset, const uint8_t *page)
{
    const uint32_t masked = mask_interrupts();

    rom.connect();
    rom.exit_xip();
    if (page != NULL) {
        rom.program(offset, page, PAGE);
    } else {
        rom.erase(offset, SECTOR, BLOCK, ERASE_BLOCK);
    }
    rom.flush();
    rom.enter_xip();
    restore_interrupts(masked);
}

/* The compiler would take a small address that it knows for a null pointer's. */
static inline uint32_t rom_word(uintptr_t address)
{
    __asm__("" : "+r"(address));
    return reg_read(address);
}

static void begin(void)
{
    rom.connect = (void (*)(void))rom_function('I', 'F');
    rom.exit_xip = (void (*)(void))rom_function('E', 'X');
    rom.erase = (void (*)(uint32_t, size_t, uint32_t, uint8_t))rom_function('R', 'E');
    rom.program = (void (*)(uint32_t, const uint8_t *, size_t))rom_function('R', 'P');
    rom.flush = (void (*)(void))rom_function('F', 'C');
    for (uint32_t i = 0; i < SETUP_WORDS; i++) {
        setup[i] = reg_read(setup_code() + i * 4);
    }
#ifdef __arm__
    rom.enter_xip = (void (*)(void))((uintptr_t)setup + 1); /* Thumb */
#else
    rom.enter_xip = (void (*)(void))rom_function('-', '-');
#endif
}

static bool erase(uint32_t offset)
{
    if (!flash_has(offset, SECTOR)) {
        return false;
    }
    change((uint32_t)BOARD_FLASH_BASE - XIP_BASE + offset, NULL);
    return true;
}

static bool program(uint32_t offset, const uint8_t *unit)
{
    uint8_t page[PAGE];

    if (!flash_has(offset, UNIT)) {
        return false;
    }
    for (uint32_t i = 0; i < PAGE; i++) {
        page[i] = i / UNIT == offset % PAGE / UNIT ? unit[i % UNIT] : ERASED;
    }
    change((uint32_t)BOARD_FLASH_BASE - XIP_BASE + offset / PAGE * PAGE, page);
    return true;
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

    if (rom.connect == NULL) {
        begin();
    }
    return &flash;
}

#endif
