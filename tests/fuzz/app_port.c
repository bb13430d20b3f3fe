/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200112L /* posix_memalign */
#include "app_port.h"

#include "hostile.h"
#include "server.h"

#include <stdlib.h>
#include <string.h>

enum { SECTOR_BYTES = 256, UNIT_BYTES = 16, ERASED = 0xFF, RECORDS_BYTES = 384 };

bool app_port_flash_fails;

static struct port_memory memory = {.static_bytes = 1000, .stack_bytes = 2048};
static struct port_flash flash;
static uint8_t *cells;
static uint64_t ticks;

/* Filled with what no test expects, as RAM is after a reset. */
static uint8_t *allocate(uint32_t bytes)
{
    void *place = NULL;
    REQUIRE(posix_memalign(&place, 16, bytes) == 0);
    memset(place, 0xA5, bytes);
    return place;
}

static bool erase(uint32_t offset)
{
    REQUIRE(offset % SECTOR_BYTES == 0 && offset < flash.bytes);
    if (app_port_flash_fails) {
        return false;
    }
    memset(cells + offset, ERASED, SECTOR_BYTES);
    return true;
}

static bool program(uint32_t offset, const uint8_t *unit)
{
    REQUIRE(offset % UNIT_BYTES == 0 && offset < flash.bytes);
    for (uint32_t i = 0; i < UNIT_BYTES; i++) {
        REQUIRE(cells[offset + i] == ERASED);
        cells[offset + i] = app_port_flash_fails ? ERASED : unit[i];
    }
    return true;
}

void app_port_make_flash(uint32_t bytes)
{
    const uint32_t slot = (bytes + RECORDS_BYTES + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES;
    cells = allocate(2 * slot);
    memset(cells, ERASED, 2 * slot);
    flash = (struct port_flash){
        cells, 2 * slot, SECTOR_BYTES, UNIT_BYTES, ERASED, erase, program};
}

const struct port_flash *port_flash(void)
{
    return &flash;
}

void app_port_make_arenas(const uint32_t bytes[PORT_ARENAS])
{
    for (int i = 0; i < PORT_ARENAS; i++) {
        free(memory.arenas[i].data);
        memory.arenas[i].data = bytes[i] > 0 ? allocate(bytes[i]) : NULL;
        memory.arenas[i].bytes = bytes[i];
    }
}

void port_memory(struct port_memory *result)
{
    *result = memory;
}

uint32_t port_stack_high_water(void)
{
    return 512;
}

uint32_t port_timer_hz(void)
{
    return 1000000;
}

void app_port_pass_a_second(void)
{
    ticks += port_timer_hz();
}

void port_watchdog_feed(void)
{
}

uint64_t port_ticks(void)
{
    return ticks++;
}

void port_uart_send(uint8_t byte)
{
    app_port_sent(byte);
}

bool port_uart_set_baud(uint32_t baud, bool change)
{
    (void)change;
    return baud % 2 == 0;
}

void port_reset(void)
{
    server_begin();
    app_port_was_reset();
}
