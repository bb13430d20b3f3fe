/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the example asks of FreeRTOS, written from its API reference: FreeRTOS itself is in no package of
 * Debian, PyPI or npm. The functions are those of host_freertos.c.
 */
#ifndef FREERTOS_H
#define FREERTOS_H

#include <stdint.h>

typedef long BaseType_t;
typedef unsigned long UBaseType_t;
typedef uint32_t TickType_t;
typedef uintptr_t StackType_t;

#define portMAX_DELAY ((TickType_t)0xffffffffu)
#define pdTRUE ((BaseType_t)1)

#endif
