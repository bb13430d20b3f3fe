/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ESP-IDF on this host: a UART that is a pseudo terminal, a flash that is a file.
 */
#ifndef ESP_IDF_HOST_H
#define ESP_IDF_HOST_H

#include <stdio.h>
#include <stdlib.h>

/* End the program because port.c breaks a rule of ESP-IDF. */
#define RULE(kept)                                                                   \
    do {                                                                             \
        if (!(kept)) {                                                               \
            fprintf(stderr, "%s:%d: not kept: %s\n", __FILE__, __LINE__, #kept);     \
            abort();                                                                 \
        }                                                                            \
    } while (0)

/* Open the flash, whose bytes are a file's; it is made if it is not there. */
void host_flash_open(const char *path);

/* Add a line of the partition table: label,type,address,size, and behind these, for what tests want of
 * it, encrypted or worn (what is written does not stay). */
void host_flash_add(const char *line);

/* Open a pseudo terminal and say its name on stdout; after a restart it is the one from before. */
void host_uart_open(void);

/* The task sleeps, so that others have their turn. */
void host_idle(void);

#endif
