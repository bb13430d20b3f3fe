/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TASK_H
#define TASK_H

#include "FreeRTOS.h"

typedef struct StaticTask {
    void *unused;
} StaticTask_t;
typedef struct StaticTask *TaskHandle_t;
typedef void (*TaskFunction_t)(void *);

TaskHandle_t xTaskCreateStatic(TaskFunction_t function, const char *name, uint32_t stack_words,
                               void *argument, UBaseType_t priority, StackType_t *stack,
                               StaticTask_t *task);
void vTaskSuspend(TaskHandle_t task);

#endif
