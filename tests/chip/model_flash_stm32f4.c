/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flash controller of STM32F2 and F4 (RM0090 section 3).
 */
#include <string.h>

#include "board.h"
#include "flash_model.h"

enum { ACR = 0x40023C00, KEYR = 0x40023C04, SR = 0x40023C0C, CR = 0x40023C10 };
enum { DCEN = 1 << 10, DCRST = 1 << 12, LATENCY = 5 };
enum { ERRORS = 0x1F2, WRPERR = 1 << 4, BSY = 1 << 16 };
enum { PG = 1 << 0, SER = 1 << 1, WORDS = 2 << 8, STRT = 1 << 16, SECTOR = 0x20000 };
#define LOCK 0x80000000u

const uint32_t model_erase_bytes = SECTOR, model_unit = 4;
const bool model_tells_twice = false, model_tells_failure = true;
static uint8_t *cells;
static uint32_t acr = 7 << 8 | LATENCY, sr = WRPERR, cr = LOCK, keys, busy = 9, operations;
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
    return cr == LOCK && (acr == (7 << 8 | LATENCY)) && !is_cache_old && (sr & ERRORS) == 0;
}

uint32_t model_operations(void)
{
    return operations;
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
    default:
        violation("read of an unknown register", (uint32_t)address);
        return 0;
    }
}

/* Whether the operation may take place; otherwise the flags say that it has not. */
static bool begin(uint32_t wanted)
{
    operations++;
    if (busy > 0 || (cr & LOCK) != 0 || (cr & (PG | SER | WORDS)) != (wanted | WORDS)) {
        violation("an operation while busy, locked or not chosen", cr);
        return false;
    }
    if ((sr & ERRORS) != 0) {
        return false;
    }
    busy = busy_time();
    sr |= fails ? WRPERR : 0;
    const bool works = !fails;
    fails = false;
    return works;
}

static void erase(uint32_t number)
{
    const uint32_t bank = number / 16, within = number % 16;
    const uint32_t address = 0x08000000 + bank * 0x100000 + (within - 4) * SECTOR;

    if (within < 5 || within > 11 || !in_area(address)) {
        violation("erases a sector outside the area", number);
    } else if (begin(SER)) {
        memset(cells + (address - BOARD_FLASH_BASE), 0xFF, SECTOR);
        is_cache_old = true;
    }
}

static void write_key(uint32_t value)
{
    const uint32_t wanted = keys == 0 ? 0x45670123u : 0xCDEF89ABu;

    if (is_shut || (cr & LOCK) == 0 || value != wanted) {
        violation("a wrong key, which shuts the controller until the next reset", value);
        is_shut = true;
    } else if (keys++ == 1) {
        cr &= ~LOCK;
        keys = 0;
    }
}

static void write_cr(uint32_t value)
{
    if ((cr & LOCK) != 0 || busy > 0) {
        violation("CR written while locked or busy", value);
        return;
    }
    cr = value & ~(uint32_t)STRT;
    if ((value & LOCK) != 0) {
        cr = LOCK;
    }
    if ((value & STRT) != 0) {
        erase(value >> 3 & 0x1F);
    }
}

static void write_acr(uint32_t value)
{
    if ((value & 0xF) != LATENCY) {
        violation("wait states changed", value);
    }
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
    REQUIRE(bytes == 4);
    if (in_area(address)) {
        const uintptr_t at = address - BOARD_FLASH_BASE;
        REQUIRE(at % 4 == 0);
        if (begin(PG)) {
            program_bytes(cells + at, value, 4);
        }
        return;
    }
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
        write_cr(value);
        break;
    default:
        violation("write of an unknown register", (uint32_t)address);
    }
}
