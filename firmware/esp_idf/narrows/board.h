/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In the place of the board.h that is made from a board's file: what Kconfig says, and for sizes that
 * only the running chip knows, functions of port.c.
 */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

#include <sdkconfig.h>

#define BOARD_NAME CONFIG_NARROWS_BOARD_NAME
#define BOARD_CORE CONFIG_IDF_TARGET_ARCH
#define BOARD_CODE_BYTES esp_idf_code_bytes()
#define BOARD_RAM_BYTES esp_idf_ram_bytes()
#define BOARD_RECEIVE_BYTES CONFIG_NARROWS_RECEIVE_BYTES
#define BOARD_UART_BAUD CONFIG_NARROWS_UART_BAUD
#ifdef CONFIG_NARROWS_MLPERF
#define BOARD_MLPERF 1
#endif

/* Bytes of the first partition for an application. */
uint32_t esp_idf_code_bytes(void);
/* Bytes of the heap's internal memory, used or not. */
uint32_t esp_idf_ram_bytes(void);

#endif
