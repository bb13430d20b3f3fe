/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flash functions of the boot ROMs of RP2040 and RP2350 (data sheets, sections 2.8.3 and 5.4):
 * they want an order, and leave the flash unreadable until its setup code has run.
 */
#include <string.h>

#include "board.h"
#include "flash_model.h"

#ifndef BOARD_SETUP_BASE
#define BOARD_SETUP_BASE 0x10000000
#endif
#define FLASH 0x10000000u
enum { SECTOR = 4096, PAGE = 256 };

uintptr_t model_rom_function(uint32_t code);

const uint32_t model_erase_bytes = SECTOR, model_unit = 64;
const bool model_tells_twice = false, model_tells_failure = false;
static uint8_t *cells;
static uint32_t operations, setup_words;
static enum { READABLE, CONNECTED, COMMANDS, FLUSHED } state;

uint8_t *model_begin(void)
{
    cells = map_memory(BOARD_FLASH_BASE, BOARD_FLASH_BYTES, false);
    return cells;
}

void model_fail_next(void)
{
}

bool model_is_at_rest(void)
{
    return state == READABLE;
}

uint32_t model_operations(void)
{
    return operations;
}

uint32_t model_read(uintptr_t address)
{
    if (address != BOARD_SETUP_BASE + setup_words * 4 || state != READABLE) {
        violation("read elsewhere or while the flash is unreadable", (uint32_t)address);
    }
    setup_words++;
    return 0;
}

void model_write(uintptr_t address, uint32_t value, uint32_t bytes)
{
    (void)value;
    (void)bytes;
    violation("write of an unknown register", (uint32_t)address);
}

static void go(uint32_t from, uint32_t to)
{
    if (state != from) {
        violation("a function of the boot ROM out of order", state);
    }
    state = to;
}

static void connect(void)
{
    go(READABLE, CONNECTED);
}

static void exit_xip(void)
{
    go(CONNECTED, COMMANDS);
}

static void erase(uint32_t offset, size_t count, uint32_t block, uint8_t command)
{
    go(COMMANDS, COMMANDS);
    operations++;
    if (offset % SECTOR != 0 || count % SECTOR != 0 || !in_area(FLASH + offset) ||
        !in_area(FLASH + offset + count - 1) || block != 65536 || command != 0xD8) {
        violation("erases elsewhere", offset);
        return;
    }
    memset(cells + (FLASH + offset - BOARD_FLASH_BASE), 0xFF, count);
}

static void program(uint32_t offset, const uint8_t *bytes, size_t count)
{
    go(COMMANDS, COMMANDS);
    operations++;
    if (offset % PAGE != 0 || count % PAGE != 0 || !in_area(FLASH + offset) ||
        !in_area(FLASH + offset + count - 1)) {
        violation("programs elsewhere", offset);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        cells[FLASH + offset - BOARD_FLASH_BASE + i] &= bytes[i];
    }
}

static void flush(void)
{
    go(COMMANDS, FLUSHED);
}

static void enter_xip(void)
{
    go(FLUSHED, READABLE);
    REQUIRE(setup_words == 64);
}

uintptr_t model_rom_function(uint32_t code)
{
    switch (code) {
    case 'I' | 'F' << 8:
        return (uintptr_t)connect;
    case 'E' | 'X' << 8:
        return (uintptr_t)exit_xip;
    case 'R' | 'E' << 8:
        return (uintptr_t)erase;
    case 'R' | 'P' << 8:
        return (uintptr_t)program;
    case 'F' | 'C' << 8:
        return (uintptr_t)flush;
    case '-' | '-' << 8:
        return (uintptr_t)enter_xip;
    default:
        violation("an unknown function of the boot ROM", code);
        return 0;
    }
}
