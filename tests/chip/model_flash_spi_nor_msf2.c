/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SmartFusion2's SPI controller (UG0331) and a serial NOR flash of Spansion's (001-98283) on it.
 */
#include <string.h>

#include "board.h"
#include "flash_model.h"

enum { CONTROL = 0x00, SIZE = 0x04, STATUS = 0x08, RX = 0x10, TX = 0x14 };
enum { CLOCK = 0x18, SELECT = 0x1C };
enum { ENABLE = 1, MASTER = 2, STAY = 1 << 26, FIFO = 4, RX_EMPTY = 1 << 6 };
#define RESET 0x80000000u
enum { PP = 0x02, READ = 0x03, RDSR = 0x05, WREN = 0x06, CLSR = 0x30, RDID = 0x9F, SE = 0xD8 };
enum { WIP = 1, WEL = 2, E_ERR = 1 << 5, P_ERR = 1 << 6 };
enum { NOR_BYTES = 16 << 20, SECTOR = 65536, UNIT = 16, PAGE = 256 };

const uint32_t model_erase_bytes = SECTOR, model_unit = UNIT;
const bool model_tells_twice = false, model_tells_failure = true;

static uint8_t nor[NOR_BYTES];
static uint32_t control = RESET | MASTER, size = 4, select, frames_left, operations;
static uint8_t rx[FIFO];
static uint32_t rx_count, rx_left; /* accesses until the byte is there */
static bool fails;

/* A command under way: what has come of it, and the answer's next byte. */
static uint8_t command[4 + PAGE];
static uint32_t command_count;
static uint32_t nor_status, busy;

uint8_t *model_begin(void)
{
    (void)map_memory(BOARD_FLASH_BASE, BOARD_FLASH_BYTES, true);
    return nor + BOARD_NOR_OFFSET;
}

void model_fail_next(void)
{
    fails = true;
}

bool model_is_at_rest(void)
{
    return nor_status == 0 && busy == 0 && frames_left == 0 && rx_count == 0;
}

uint32_t model_operations(void)
{
    return operations;
}

static uint32_t address(void)
{
    return (uint32_t)command[1] << 16 | (uint32_t)command[2] << 8 | command[3];
}

static bool begin(uint32_t error)
{
    operations++;
    if ((nor_status & WEL) == 0) {
        violation("an operation that is not enabled", command[0]);
        return false;
    }
    nor_status = (nor_status & ~(uint32_t)WEL) | WIP;
    busy = busy_time() + 1;
    if (fails) {
        nor_status |= error;
        fails = false;
        return false;
    }
    return true;
}

static void program(void)
{
    const uint32_t at = address(), count = command_count - 4;

    if (at % PAGE + count > PAGE || at % UNIT != 0 || count % UNIT != 0) {
        violation("programs over the end of a page or a part of a unit", at);
    }
    if (!begin(P_ERR)) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (nor[at + i] != 0xFF) {
            violation("a unit programmed twice loses its code", at + i);
        }
        nor[at + i] &= command[4 + i];
    }
}

/* The NOR is no longer selected: the command takes effect. */
static void deselect(void)
{
    switch (command[0]) {
    case WREN:
        nor_status |= WEL;
        break;
    case CLSR:
        nor_status &= ~(uint32_t)(E_ERR | P_ERR | WIP);
        busy = 0;
        break;
    case PP:
        program();
        break;
    case SE:
        REQUIRE(command_count == 4);
        if (begin(E_ERR)) {
            memset(nor + address() / SECTOR * SECTOR, 0xFF, SECTOR);
        }
        break;
    default:
        break;
    }
    command_count = 0;
}

static uint8_t status(void)
{
    const uint8_t now = (uint8_t)nor_status;

    /* What failed stays busy until it is cleared. */
    if (busy > 0 && --busy == 0 && (nor_status & (E_ERR | P_ERR)) == 0) {
        nor_status &= ~(uint32_t)WIP;
    }
    return now;
}

static uint8_t transfer(uint8_t out)
{
    static const uint8_t id[] = {0x01, 0x20, 0x18, 0x4D, 0x01, 0x80};
    const uint32_t index = command_count;

    if (index == 0 && (nor_status & WIP) != 0 && out != RDSR && out != CLSR) {
        violation("a command while the NOR is busy", out);
    }
    if (index < sizeof command) {
        command[index] = out;
    }
    command_count++;
    if (index == 0) {
        return 0xFF;
    }
    switch (command[0]) {
    case RDID:
        return index <= sizeof id ? id[index - 1] : 0;
    case RDSR:
        return status();
    case READ:
        return index < 4 ? 0xFF : nor[(address() + index - 4) % NOR_BYTES];
    case PP:
        REQUIRE(index < sizeof command);
        return 0xFF;
    case SE:
        return 0xFF;
    default:
        violation("an unknown command", command[0]);
        return 0xFF;
    }
}

uint32_t model_read(uintptr_t register_at)
{
    switch (register_at - BOARD_SPI_BASE) {
    case STATUS:
        if (rx_left > 0) {
            rx_left--;
            return RX_EMPTY;
        }
        return rx_count == 0 ? RX_EMPTY : 0;
    case RX: {
        if (rx_count == 0 || rx_left > 0) {
            violation("read of an empty FIFO", rx_left);
        }
        const uint8_t byte = rx[0];
        memmove(rx, rx + 1, --rx_count);
        return byte;
    }
    default:
        violation("read of an unknown register", (uint32_t)register_at);
        return 0;
    }
}

static void write_control(uint32_t value)
{
    const uint32_t fields = MASTER | STAY;

    if (frames_left > 0) {
        violation("CONTROL written while frames are under way", value);
    }
    if ((value & ENABLE) != 0) {
        if ((value & fields) != fields || size != 8 || select != 1 || (value >> 2 & 3) != 0 ||
            (control & ENABLE) != 0 || (value & 0xFFFF00) != (control & 0xFFFF00)) {
            violation("switched on otherwise than the NOR wants", value);
        }
        frames_left = value >> 8 & 0xFFFF;
    }
    control = value;
}

void model_write(uintptr_t register_at, uint32_t value, uint32_t bytes)
{
    REQUIRE(bytes == 4);
    switch (register_at - BOARD_SPI_BASE) {
    case CONTROL:
        write_control(value);
        break;
    case SIZE:
        REQUIRE((control & ENABLE) == 0);
        size = value;
        break;
    case SELECT:
        select = value;
        break;
    case CLOCK:
        if (BOARD_SPI_CLOCK_HZ / (2 * (value + 1)) > 50000000 || (control & 1 << 28) == 0) {
            violation("the clock is too fast for READ", value);
        }
        break;
    case TX:
        if (rx_count == FIFO || frames_left == 0) {
            violation("a byte too many", value);
            return;
        }
        rx[rx_count++] = transfer((uint8_t)value);
        rx_left = drawn(4);
        if (--frames_left == 0) {
            deselect();
        }
        break;
    default:
        violation("write of an unknown register", (uint32_t)register_at);
    }
}
