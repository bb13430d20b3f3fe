/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the application needs of a chip, and what a chip needs of the application. The core's part is
 * in firmware/core, the chip's in firmware/chip; the board's file names the drivers, and board.h,
 * which is made from it, gives their addresses.
 */
#ifndef NARROWS_PORT_H
#define NARROWS_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include "flash.h"

/* --- core -------------------------------------------------------------------------------- */

enum { PORT_ARENAS = 4 };

struct port_memory {
    struct {
        uint8_t *data;        /* 16-byte aligned */
        uint32_t bytes;
    } arenas[PORT_ARENAS];    /* all memory that nothing else uses, the fastest first; 0: no more */
    uint32_t static_bytes;    /* variables: the link's buffers, model and run state */
    uint32_t stack_bytes;     /* reserved; what lies below it faults */
};
void port_memory(struct port_memory *memory);

/* The most of the stack that has been used since reset, interrupts included. */
uint32_t port_stack_high_water(void);

/* Sleep until an interrupt; not at all if a received byte waits in the application's ring. */
void port_sleep(void);

/* Reset the chip. */
void port_reset(void);

/* Let an interrupt of the chip through to the core. */
void port_enable_interrupt(uint32_t number);

/* --- chip -------------------------------------------------------------------------------- */

/* Clocks, power and pins. Called before all others; the default does nothing. */
void port_chip_begin(void);

/* Called from the main loop: before each step of an inference, before what has arrived is answered,
 * and before port_sleep. The default does nothing; a port whose chip has a watchdog that runs
 * defines its own. The longest time between two calls is that of a step, which nrw_max_step_work
 * bounds before the first, and that of a hash over the model slots. While the watchdog also
 * runs in port_sleep, an interrupt of the port's own must end the sleep in time. */
void port_watchdog_feed(void);

/* --- timer ------------------------------------------------------------------------------- */

void port_timer_begin(void);
uint32_t port_timer_hz(void);
/* Ticks since port_timer_begin; never goes back. */
uint64_t port_ticks(void);

/* --- UART -------------------------------------------------------------------------------- */

/* Begins with BOARD_UART_BAUD. */
void port_uart_begin(void);
/* Whether the clock can be divided into a rate within 2% of this one; if `change`, it is from now on,
 * once what has been sent is out. */
bool port_uart_set_baud(uint32_t baud, bool change);
/* Waits while the transmitter is busy. */
void port_uart_send(uint8_t byte);

/* --- flash ------------------------------------------------------------------------------- */

/* Where models stand. */
const struct port_flash *port_flash(void);

/* --- what the port calls ------------------------------------------------------------------- */

/* From the receive interrupt. */
void app_received(uint8_t byte);
/* Whether no received byte waits. */
int app_is_idle(void);
/* From a fault, on a fresh stack: tell the host. pc: 0 if unknown; cause: as the chip has it. */
void app_fault(uint32_t pc, uint32_t cause);
int main(void);

#endif
