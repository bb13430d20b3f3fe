/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In the place of the application: uses more and more stack. What the port and the link do
 * about it is tested.
 */
#include "cobs.h"
#include "frame.h"
#include "port.h"
#include "protocol.h"

static uint8_t frame[64];

static void send(uint8_t type, uint32_t first, uint32_t second)
{
    nrw_store32(nrw_store32(frame + NRW_FRAME_HEADER, first), second);
    nrw_cobs_send(frame, nrw_frame_seal(frame, type, 0, 8), port_uart_send);
}

static int deeper(volatile const uint8_t *above)
{
    volatile uint8_t block[256];

    for (uint32_t i = 0; i < sizeof block; i++) {
        block[i] = above[i % 16];
    }
    send(LINK_STATE | LINK_ANSWER, port_stack_high_water(), (uint32_t)(uintptr_t)block);
    return deeper(block) + block[0];
}

int main(void)
{
    static const uint8_t first[16];

    port_timer_begin();
    port_uart_begin();
    return deeper(first);
}

void app_received(uint8_t byte)
{
    (void)byte;
}

int app_is_idle(void)
{
    return 1;
}

void app_fault(uint32_t pc, uint32_t cause)
{
    send(LINK_FAULT | LINK_ANSWER, pc, cause);
}
