/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flash controller of STM32L4+ with two banks (RM0432 section 3): double words whose code is
 * programmed with them, and the NMI where it can't correct.
 */
#include <string.h>

#include "board.h"
#include "flash_model.h"
#include "torn.h"

enum { ACR = 0x40022000, KEYR = 0x40022008, SR = 0x40022010, CR = 0x40022014 };
enum { ECCR = 0x40022018, OPTR = 0x40022020, DBANK = 1 << 22 };
enum { DCEN = 1 << 10, DCRST = 1 << 12, ACR_RESET = 7 << 8 | 5 };
enum { ERRORS = 0xC3FA, PROGERR = 1 << 3, WRPERR = 1 << 4, PGAERR = 1 << 5, SIZERR = 1 << 6 };
enum { PGSERR = 1 << 7, BSY = 1 << 16 };
enum { PG = 1 << 0, PER = 1 << 1, BKER = 1 << 11, STRT = 1 << 16, PAGE = 4096 };
#define LOCK 0x80000000u
#define ECCD 0x80000000u

const uint32_t model_erase_bytes = PAGE, model_unit = 8;
const bool model_tells_twice = true, model_tells_failure = true;
static uint8_t *cells;
static bool torn[BOARD_FLASH_BYTES / 8];
static uint32_t acr = ACR_RESET, sr = WRPERR, cr = LOCK, eccr, optr = DBANK, keys, busy = 9;
static uint32_t operations;
static uint32_t first_word;
static uintptr_t second_at;
static bool fails, is_shut, is_cache_old;

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
    return cr == LOCK && acr == ACR_RESET && !is_cache_old && sr == 0 && second_at == 0;
}

uint32_t model_operations(void)
{
    return operations;
}

void model_tear(uint32_t offset)
{
    torn[offset / 8] = true;
}

bool model_touch(uint32_t offset)
{
    eccr |= torn[offset / 8] ? ECCD | offset : 0;
    return torn[offset / 8];
}

uint32_t model_read(uintptr_t address)
{
    switch (address) {
    case ACR:
        return acr;
    case SR:
        if (busy > 0) {
            busy--;
            return sr | BSY;
        }
        return sr;
    case CR:
        return cr;
    case ECCR:
        return eccr;
    case OPTR:
        return optr;
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
    if ((acr & DCEN) != 0) {
        violation("the data cache is on while the flash changes", acr);
    }
    if ((sr & ERRORS) != 0) {
        sr |= PGSERR;
        return false;
    }
    busy = busy_time();
    is_cache_old = true;
    sr |= fails ? WRPERR : 0;
    const bool works = !fails;
    fails = false;
    return works;
}

static void erase(uint32_t value)
{
    const uint32_t bank = (value & BKER) != 0 ? 0x100000 : 0;
    const uint32_t address = 0x08000000 + bank + (value >> 3 & 0xFF) * PAGE;

    if (!in_area(address)) {
        violation("erases a page outside the area", address);
    } else if (begin(PER)) {
        memset(cells + (address - BOARD_FLASH_BASE), 0xFF, PAGE);
        memset(torn + (address - BOARD_FLASH_BASE) / 8, 0, PAGE / 8);
    }
}

static void program(uintptr_t at, uint32_t value)
{
    if (second_at == 0) {
        sr |= at % 8 != 0 ? PGAERR : 0;
        first_word = value;
        second_at = BOARD_FLASH_BASE + at + 4;
        return;
    }
    sr |= BOARD_FLASH_BASE + at != second_at ? PGAERR : 0;
    second_at = 0;
    if (!begin(PG)) {
        return;
    }
    if (!is_erased(cells + at - 4, 8) && (first_word != 0 || value != 0)) {
        sr |= PROGERR;
        return;
    }
    program_bytes(cells + at - 4, first_word, 4);
    program_bytes(cells + at, value, 4);
}

static void write_key(uint32_t value)
{
    if (is_shut || (cr & LOCK) == 0 || value != (keys == 0 ? 0x45670123u : 0xCDEF89ABu)) {
        violation("a wrong key, which shuts the controller until the next reset", value);
        is_shut = true;
    } else if (keys++ == 1) {
        cr &= ~LOCK;
        keys = 0;
    }
}

static void write_acr(uint32_t value)
{
    if ((value & DCRST) != 0) {
        if ((acr & DCEN) != 0) {
            violation("the data cache reset while it is on", value);
        }
        is_cache_old = false;
    }
    acr = value;
}

void model_write(uintptr_t address, uint32_t value, uint32_t bytes)
{
    if (in_area(address)) {
        sr |= bytes != 4 ? SIZERR : 0;
        program(address - BOARD_FLASH_BASE, value);
        return;
    }
    REQUIRE(bytes == 4);
    switch (address) {
    case ACR:
        write_acr(value);
        break;
    case KEYR:
        write_key(value);
        break;
    case SR:
        sr &= ~(value & ERRORS);
        break;
    case CR:
        if ((cr & LOCK) != 0 || busy > 0) {
            violation("CR written while locked or busy", value);
            return;
        }
        cr = (value & LOCK) != 0 ? LOCK : value & ~(uint32_t)STRT;
        if ((value & STRT) != 0) {
            erase(value);
        }
        break;
    case ECCR:
        eccr &= ~(value & ECCD);
        break;
    default:
        violation("write of an unknown register", (uint32_t)address);
    }
}
