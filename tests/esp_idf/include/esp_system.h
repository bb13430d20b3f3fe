/* SPDX-License-Identifier: Apache-2.0 */
/* As ESP-IDF v5's API reference has it, as far as firmware/esp_idf uses it. */
#ifndef ESP_SYSTEM_H
#define ESP_SYSTEM_H

void esp_restart(void) __attribute__((noreturn));

#endif
