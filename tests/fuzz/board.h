/* SPDX-License-Identifier: Apache-2.0 */
/* What a board's file would say of this process. */
#define BOARD_NAME "fuzz"
#define BOARD_CORE "host"
#define BOARD_CODE_BYTES 0x10000
#define BOARD_RAM_BYTES 0x4000
#define BOARD_RECEIVE_BYTES 1024
#define BOARD_UART_BAUD 115200
#define BOARD_MLPERF 1
