/* SPDX-License-Identifier: Apache-2.0 */
/* As ESP-IDF v5's API reference has it, as far as firmware/esp_idf uses it. */
#ifndef ESP_TIMER_H
#define ESP_TIMER_H

#include <stdint.h>

/* Microseconds since the start. */
int64_t esp_timer_get_time(void);

#endif
