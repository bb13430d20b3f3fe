/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The example's task on the host. It runs as a function call: a queue that is empty is filled with the
 * next row of the picture, and the first answer, or a task that suspends itself, ends the program.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "freertos/queue.h"
#include "freertos/task.h"
#include "picture.h"

extern QueueHandle_t digits_rows;
extern QueueHandle_t digits_answers;
void digits_task_start(UBaseType_t priority);

static TaskFunction_t task_function;
static int rows_sent;

QueueHandle_t xQueueCreateStatic(UBaseType_t length, UBaseType_t item_bytes, uint8_t *storage,
                                 StaticQueue_t *queue)
{
    *queue = (StaticQueue_t){storage, length, item_bytes, 0, 0};
    return queue;
}

BaseType_t xQueueSend(QueueHandle_t queue, const void *item, TickType_t ticks)
{
    (void)ticks;
    if (queue == digits_answers) {
        int answer;
        memcpy(&answer, item, sizeof answer);
        printf("%d\n", answer);
        exit(answer < 0);
    }
    const UBaseType_t at = (queue->first + queue->count) % queue->length;
    memcpy(queue->storage + at * queue->item_bytes, item, queue->item_bytes);
    queue->count++;
    return pdTRUE;
}

BaseType_t xQueueReceive(QueueHandle_t queue, void *item, TickType_t ticks)
{
    (void)ticks;
    while (queue->count < queue->length) {
        xQueueSend(queue, picture[rows_sent++ % PICTURE_ROWS], portMAX_DELAY);
    }
    memcpy(item, queue->storage + queue->first * queue->item_bytes, queue->item_bytes);
    queue->first = (queue->first + 1) % queue->length;
    queue->count--;
    return pdTRUE;
}

TaskHandle_t xTaskCreateStatic(TaskFunction_t function, const char *name, uint32_t stack_words,
                               void *argument, UBaseType_t priority, StackType_t *stack,
                               StaticTask_t *task)
{
    (void)name, (void)argument, (void)priority;
    /* All of the stack and the task's record are the task's. */
    memset(stack, 0, stack_words * sizeof *stack);
    memset(task, 0, sizeof *task);
    task_function = function;
    return task;
}

void vTaskSuspend(TaskHandle_t task)
{
    (void)task;
    puts("suspended");
    exit(1);
}

int main(void)
{
    digits_task_start(1);
    task_function(NULL);
    return 1;
}
