/* SPDX-License-Identifier: Apache-2.0 */
/* As ESP-IDF v5's API reference has it, as far as firmware/esp_idf uses it. */
#ifndef FREERTOS_H
#define FREERTOS_H

#include <stdint.h>

typedef int BaseType_t;
typedef unsigned int UBaseType_t;
typedef uint32_t TickType_t;
typedef uint8_t StackType_t;
typedef struct queue *QueueHandle_t;

#define pdPASS 1
#define portMAX_DELAY ((TickType_t)0xffffffffUL)
#define configTICK_RATE_HZ 100

#endif
