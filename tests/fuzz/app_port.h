/* SPDX-License-Identifier: Apache-2.0 */
/* A port (firmware/port/port.h) whose chip is this process: memory from the heap, of exact size,
 * and a UART that gives its bytes to the test. */
#ifndef APP_PORT_H
#define APP_PORT_H

/* port.h declares the main(void) of firmware; a program of this host takes arguments. */
#define main firmware_main
#include "port.h"
#undef main

#include <stdbool.h>

/* Make the flash, erased, with two slots for blobs of so many bytes. It stays where it is, as the server
 * keeps pointers into it. */
void app_port_make_flash(uint32_t bytes);

/* Replace the arenas, which may only be done while no run goes on. */
void app_port_make_arenas(const uint32_t bytes[PORT_ARENAS]);

/* While this is set, what is programmed comes to nothing. */
extern bool app_port_flash_fails;

/* By the device's clock. */
void app_port_pass_a_second(void);

/* The device has been reset: what it had received is gone. */
void app_port_was_reset(void);

/* The test's end of the UART: is called with every byte that the firmware sends. */
void app_port_sent(uint8_t byte);

#endif
