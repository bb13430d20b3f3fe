/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200112L /* posix_memalign */
#include "app_port.h"

#include "hostile.h"

#include <stdlib.h>
#include <string.h>

bool app_port_slot_fails;

static struct port_memory memory = {.static_bytes = 1000, .stack_bytes = 2048};
static uint8_t *slot;
static uint32_t slot_bytes;
static uint64_t ticks;

/* Filled with what no test expects, as RAM is after a reset. */
static uint8_t *allocate(uint32_t bytes)
{
    void *place = NULL;
    REQUIRE(posix_memalign(&place, 16, bytes) == 0);
    memset(place, 0xA5, bytes);
    return place;
}

void app_port_make_slot(uint32_t bytes)
{
    slot = allocate(bytes);
    slot_bytes = bytes;
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

uint64_t port_ticks(void)
{
    return ticks++;
}

void port_uart_send(uint8_t byte)
{
    app_port_sent(byte);
}

const uint8_t *port_slot(void)
{
    return slot;
}

uint32_t port_slot_bytes(void)
{
    return slot_bytes;
}

int port_slot_write(uint32_t offset, const uint8_t *bytes, uint32_t count)
{
    REQUIRE(count <= slot_bytes && offset <= slot_bytes - count);
    if (app_port_slot_fails) {
        return -1000; /* the driver's own number, none of the protocol's */
    }
    memcpy(slot + offset, bytes, count);
    return 0;
}
