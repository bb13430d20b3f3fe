/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flash controllers of STM32H743's two banks (RM0433 section 4), the core's data cache in front
 * of them, and the bus fault where the code can't correct.
 */
#include <string.h>

#include "board.h"
#include "flash_model.h"
#include "torn.h"

#define CONTROLLER 0x52002000u
enum { KEYR = 0x04, CR = 0x0C, SR = 0x10, CCR = 0x14, BANKS = 2, BANK_STRIDE = 0x100 };
enum { LOCK = 1, PG = 2, SER = 4, START = 1 << 7, SECTOR = 0x20000, UNIT = 32 };
enum { BSY = 1, WBNE = 2, QW = 4, WRPERR = 1 << 17, PGSERR = 1 << 18, INCERR = 1 << 21 };
enum { DBECCERR = 1 << 26, CLEARABLE = 0x0FEF0000, ERRORS = 0x01EE0000 };
#define CORE_CCR 0xE000ED14u
#define DCIMVAC 0xE000EF5Cu
enum { BFHFNMIGN = 1 << 8, CORE_CCR_RESET = 0x00070200 };

const uint32_t model_erase_bytes = SECTOR, model_unit = UNIT;
const bool model_tells_twice = false, model_tells_failure = true;

static struct bank {
    uint32_t cr, sr, keys, busy;
    uint32_t buffered; /* words of a unit */
    uintptr_t unit_at;
    uint32_t words[UNIT / 4];
    bool is_shut, is_used;
} banks[BANKS] = {{.cr = LOCK, .sr = WRPERR, .busy = 9}, {.cr = LOCK, .sr = INCERR, .busy = 9}};

static uint8_t *cells;
static bool torn[BOARD_FLASH_BYTES / UNIT], is_cached[BOARD_FLASH_BYTES / UNIT];
static uint32_t operations, old_lines, core_ccr = CORE_CCR_RESET;
static bool fails;

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
    for (uint32_t i = 0; i < BANKS; i++) {
        if (banks[i].is_used &&
            (banks[i].cr != LOCK || banks[i].sr != 0 || banks[i].buffered != 0)) {
            return false;
        }
    }
    return old_lines == 0 && core_ccr == CORE_CCR_RESET;
}

uint32_t model_operations(void)
{
    return operations;
}

void model_tear(uint32_t offset)
{
    torn[offset / UNIT] = true;
}

static struct bank *bank_at(uintptr_t address)
{
    return &banks[address >= 0x08100000];
}

bool model_touch(uint32_t offset)
{
    if (torn[offset / UNIT]) {
        bank_at(BOARD_FLASH_BASE + offset)->sr |= DBECCERR;
    }
    return torn[offset / UNIT];
}

uint32_t model_read(uintptr_t address)
{
    if (in_area(address)) {
        if (model_touch((uint32_t)(address - BOARD_FLASH_BASE)) && (core_ccr & BFHFNMIGN) == 0) {
            violation("a bus fault", (uint32_t)address);
        }
        uint32_t word;
        memcpy(&word, cells + (address - BOARD_FLASH_BASE), 4);
        return word;
    }
    if (address == CORE_CCR) {
        return core_ccr;
    }
    struct bank *bank = &banks[(address - CONTROLLER) / BANK_STRIDE % BANKS];
    switch ((address - CONTROLLER) % BANK_STRIDE) {
    case SR:
        if (bank->busy > 0) {
            bank->busy--;
            return bank->sr | QW | (drawn(2) == 0 ? BSY : 0);
        }
        return bank->sr | (bank->buffered > 0 ? WBNE : 0);
    case CR:
        return bank->cr;
    default:
        violation("read of an unknown register", (uint32_t)address);
        return 0;
    }
}

static bool begin(struct bank *bank, uint32_t wanted)
{
    operations++;
    bank->is_used = true;
    if (bank->busy > 0 || (bank->cr & LOCK) != 0 || (bank->cr & (PG | SER)) != wanted) {
        violation("an operation while busy, locked or not chosen", bank->cr);
        return false;
    }
    if ((bank->sr & ERRORS) != 0) {
        bank->sr |= PGSERR;
        return false;
    }
    bank->busy = busy_time();
    bank->sr |= fails ? WRPERR : 0;
    const bool works = !fails;
    fails = false;
    return works;
}

/* What the cache may still hold of these bytes. */
static void grow_old(uintptr_t at, uint32_t bytes)
{
    for (uintptr_t line = at / UNIT; line < (at + bytes) / UNIT; line++) {
        old_lines += !is_cached[line];
        is_cached[line] = true;
    }
}

static void erase(struct bank *bank, uint32_t value)
{
    const uintptr_t start = bank == &banks[1] ? 0x08100000 : 0x08000000;
    const uintptr_t address = start + (value >> 8 & 7) * SECTOR;

    if (!in_area(address)) {
        violation("erases a sector outside the area", (uint32_t)address);
    } else if (begin(bank, SER)) {
        memset(cells + (address - BOARD_FLASH_BASE), 0xFF, SECTOR);
        memset(torn + (address - BOARD_FLASH_BASE) / UNIT, 0, SECTOR / UNIT);
        grow_old(address - BOARD_FLASH_BASE, SECTOR);
    }
}

static void program(uintptr_t address, uint32_t value)
{
    struct bank *bank = bank_at(address);
    const uintptr_t at = address - BOARD_FLASH_BASE;

    if (bank->buffered == 0) {
        bank->unit_at = at / UNIT * UNIT;
    }
    if (at != bank->unit_at + bank->buffered * 4) {
        bank->sr |= INCERR;
    }
    bank->words[bank->buffered++ % (UNIT / 4)] = value;
    if (bank->buffered < UNIT / 4) {
        return;
    }
    bank->buffered = 0;
    if (!begin(bank, PG)) {
        return;
    }
    if (!is_erased(cells + bank->unit_at, UNIT)) {
        violation("a unit programmed twice, which breaks its code", (uint32_t)address);
    }
    for (uint32_t i = 0; i < UNIT / 4; i++) {
        program_bytes(cells + bank->unit_at + i * 4, bank->words[i], 4);
    }
    grow_old(bank->unit_at, UNIT);
}

static void write_core(uintptr_t address, uint32_t value)
{
    if (address == CORE_CCR) {
        core_ccr = value;
    } else if (in_area(value)) {
        const uintptr_t line = (value - BOARD_FLASH_BASE) / UNIT;
        old_lines -= is_cached[line];
        is_cached[line] = false;
    } else {
        violation("another line invalidated", value);
    }
}

static void write_key(struct bank *bank, uint32_t value)
{
    const uint32_t wanted = bank->keys == 0 ? 0x45670123u : 0xCDEF89ABu;

    if (bank->is_shut || (bank->cr & LOCK) == 0 || value != wanted) {
        violation("a wrong key, which shuts the controller until the next reset", value);
        bank->is_shut = true;
    } else if (bank->keys++ == 1) {
        bank->cr &= ~(uint32_t)LOCK;
        bank->keys = 0;
    }
}

void model_write(uintptr_t address, uint32_t value, uint32_t bytes)
{
    REQUIRE(bytes == 4);
    if (in_area(address)) {
        program(address, value);
        return;
    }
    if (address == CORE_CCR || address == DCIMVAC) {
        write_core(address, value);
        return;
    }
    struct bank *bank = &banks[(address - CONTROLLER) / BANK_STRIDE % BANKS];
    switch ((address - CONTROLLER) % BANK_STRIDE) {
    case KEYR:
        write_key(bank, value);
        break;
    case CCR:
        bank->sr &= ~(value & CLEARABLE);
        break;
    case CR:
        if ((bank->cr & LOCK) != 0 || bank->busy > 0) {
            violation("CR written while locked or busy", value);
            return;
        }
        bank->cr = (value & LOCK) != 0 ? LOCK : value & ~(uint32_t)START;
        if ((value & START) != 0) {
            erase(bank, value);
        }
        break;
    default:
        violation("write of an unknown register", (uint32_t)address);
    }
}
