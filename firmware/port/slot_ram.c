/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model slot in memory that is written like any other.
 */
#include <string.h>

#include "port.h"

const uint8_t *port_slot(void)
{
    return (const uint8_t *)BOARD_SLOT_BASE;
}

uint32_t port_slot_bytes(void)
{
    return BOARD_SLOT_BYTES;
}

int port_slot_write(uint32_t offset, const uint8_t *bytes, uint32_t count)
{
    memcpy((uint8_t *)BOARD_SLOT_BASE + offset, bytes, count);
    return 0;
}
