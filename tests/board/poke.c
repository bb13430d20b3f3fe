/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In the place of the application: writes to each address that comes over the line, and tells.
 */
#include "cobs.h"
#include "frame.h"
#include "port.h"
#include "protocol.h"

static uint8_t frame[64];
static volatile uint32_t address, received;

static void send(uint8_t type, uint32_t first, uint32_t second)
{
    nrw_store32(nrw_store32(frame + NRW_FRAME_HEADER, first), second);
    nrw_cobs_send(frame, nrw_frame_seal(frame, type, 0, 8), port_uart_send);
}

int main(void)
{
    port_timer_begin();
    port_uart_begin();
    for (;;) {
        if (received == 4) {
            received = 0;
            *(volatile uint8_t *)(uintptr_t)address = 1;
            send(LINK_STATE | LINK_ANSWER, address, 0);
        }
    }
}

void app_received(uint8_t byte)
{
    address = address >> 8 | (uint32_t)byte << 24;
    received++;
}

int app_is_idle(void)
{
    return 1;
}

void app_fault(uint32_t pc, uint32_t cause)
{
    send(LINK_FAULT | LINK_ANSWER, pc, cause);
}
