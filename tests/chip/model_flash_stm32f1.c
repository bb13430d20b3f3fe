/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flash controller of STM32F1 (PM0075).
 */
#include <string.h>

#include "board.h"
#include "flash_model.h"

enum { KEYR = 0x40022004, SR = 0x4002200C, CR = 0x40022010, AR = 0x40022014 };
enum { BSY = 1 << 0, PGERR = 1 << 2, WRPRTERR = 1 << 4, EOP = 1 << 5 };
enum { FLAGS = PGERR | WRPRTERR | EOP };
enum { PG = 1 << 0, PER = 1 << 1, STRT = 1 << 6, LOCK = 1 << 7 };

const uint32_t model_erase_bytes = BOARD_FLASH_ERASE_BYTES, model_unit = 4;
const bool model_tells_twice = true, model_tells_failure = true;
static uint8_t *cells;
static uint32_t sr = PGERR, cr = LOCK, ar, keys, busy = 9, operations;
static bool fails, is_shut;

uint8_t *model_begin(void)
{
    cells = map_memory(BOARD_FLASH_BASE, BOARD_FLASH_BYTES, false);
    return cells;
}

void model_fail_next(void)
{
    fails = true;
}

bool model_is_at_rest(void)
{
    return cr == LOCK && sr == 0;
}

uint32_t model_operations(void)
{
    return operations;
}

uint32_t model_read(uintptr_t address)
{
    switch (address) {
    case SR:
        if (busy > 0) {
            busy--;
            return sr | BSY;
        }
        return sr;
    case CR:
        return cr;
    default:
        violation("read of an unknown register", (uint32_t)address);
        return 0;
    }
}

static bool begin(uint32_t wanted)
{
    operations++;
    if (busy > 0 || (cr & LOCK) != 0 || (cr & (PG | PER)) != wanted) {
        violation("an operation while busy, locked or not chosen", cr);
        return false;
    }
    busy = busy_time();
    sr |= fails ? WRPRTERR : EOP;
    const bool works = !fails;
    fails = false;
    return works;
}

static void erase(void)
{
    if (!in_area(ar)) {
        violation("erases a page outside the area", ar);
    } else if (begin(PER)) {
        const uintptr_t at = ar - BOARD_FLASH_BASE;
        memset(cells + at / BOARD_FLASH_ERASE_BYTES * BOARD_FLASH_ERASE_BYTES, 0xFF,
               BOARD_FLASH_ERASE_BYTES);
    }
}

static void program(uintptr_t at, uint32_t value, uint32_t bytes)
{
    REQUIRE(bytes == 2 && at % 2 == 0);
    if (!begin(PG)) {
        return;
    }
    if (!is_erased(cells + at, 2) && value != 0) {
        sr = (sr & ~(uint32_t)EOP) | PGERR;
    } else {
        program_bytes(cells + at, value, 2);
    }
}

static void write_key(uint32_t value)
{
    if (is_shut || (cr & LOCK) == 0 || value != (keys == 0 ? 0x45670123u : 0xCDEF89ABu)) {
        violation("a wrong key, which shuts the controller until the next reset", value);
        is_shut = true;
    } else if (keys++ == 1) {
        cr &= ~(uint32_t)LOCK;
        keys = 0;
    }
}

void model_write(uintptr_t address, uint32_t value, uint32_t bytes)
{
    if (in_area(address)) {
        program(address - BOARD_FLASH_BASE, value, bytes);
        return;
    }
    REQUIRE(bytes == 4);
    switch (address) {
    case KEYR:
        write_key(value);
        break;
    case SR:
        sr &= ~(value & FLAGS);
        break;
    case AR:
        if ((cr & LOCK) != 0 || busy > 0) {
            violation("AR written while locked or busy", value);
        }
        ar = value;
        break;
    case CR:
        if ((cr & LOCK) != 0 || busy > 0) {
            violation("CR written while locked or busy", value);
            return;
        }
        cr = (value & LOCK) != 0 ? LOCK : value & ~(uint32_t)STRT;
        if ((value & STRT) != 0) {
            erase();
        }
        break;
    default:
        violation("write of an unknown register", (uint32_t)address);
    }
}
