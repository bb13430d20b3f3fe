/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flash controller of the LM3S6965 (data sheet, section 7).
 */
#include <string.h>

#include "board.h"
#include "flash_model.h"

enum { FMA = 0x400FD000, FMD = 0x400FD004, FMC = 0x400FD008, FCRIS = 0x400FD00C };
enum { FCMISC = 0x400FD014, USECRL = 0x400FE140, WRITE = 1, ERASE = 2, PAGE = 1024 };

const uint32_t model_erase_bytes = PAGE, model_unit = 4;
const bool model_tells_twice = false, model_tells_failure = true;
static uint8_t *cells;
static uint32_t address_set, data, under_way, refused = 1, microsecond, busy, operations;
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
    return busy == 0;
}

uint32_t model_operations(void)
{
    return operations;
}

uint32_t model_read(uintptr_t address)
{
    switch (address) {
    case FMC:
        if (busy > 0) {
            busy--;
            return under_way;
        }
        return 0;
    case FCRIS:
        return refused;
    default:
        violation("read of an unknown register", (uint32_t)address);
        return 0;
    }
}

static void run(uint32_t value)
{
    const uint32_t command = value & 0xFFFF;
    const uint32_t offset = address_set - BOARD_FLASH_BASE;

    operations++;
    if (value >> 16 != 0xA442 || busy > 0 || !in_area(address_set) ||
        microsecond != BOARD_CORE_HZ / 1000000 - 1) {
        violation("an operation without the key, while busy, elsewhere or with wrong times", value);
        return;
    }
    busy = busy_time();
    under_way = command;
    if (fails) {
        refused |= 1;
        fails = false;
    } else if (command == ERASE) {
        memset(cells + offset / PAGE * PAGE, 0xFF, PAGE);
    } else if (command == WRITE) {
        program_bytes(cells + offset, data, 4);
    } else {
        violation("an unknown command", value);
    }
}

void model_write(uintptr_t address, uint32_t value, uint32_t bytes)
{
    REQUIRE(bytes == 4);
    if (busy > 0) {
        violation("written while busy", (uint32_t)address);
    }
    switch (address) {
    case FMA:
        address_set = value;
        break;
    case FMD:
        data = value;
        break;
    case FMC:
        run(value);
        break;
    case FCMISC:
        refused &= ~value;
        break;
    case USECRL:
        microsecond = value;
        break;
    default:
        violation("write of an unknown register", (uint32_t)address);
    }
}
