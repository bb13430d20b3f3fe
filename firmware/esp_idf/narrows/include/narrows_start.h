/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NARROWS_START_H
#define NARROWS_START_H

#include <esp_err.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Start a task that keeps models in a partition of the flash and runs them for a host at a UART
 * (firmware/PROTOCOL.md). All its settings are in the menu "narrows" of idf.py menuconfig. To be called
 * once.
 *
 * Returns ESP_OK, or, with the reason in the log and no task:
 *   ESP_ERR_NOT_FOUND      no partition of that label
 *   ESP_ERR_NOT_SUPPORTED  it is encrypted, too small, or its sectors have not 4096 bytes
 *   ESP_ERR_NO_MEM         no block of the heap for the arena, or no memory for the task
 *   another                what ESP-IDF says of mapping the partition or of the UART */
esp_err_t narrows_start(void);

#ifdef __cplusplus
}
#endif

#endif
