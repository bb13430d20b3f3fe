/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A task of FreeRTOS that takes rows from a queue and puts answers into another. Its priority is low,
 * so whatever is urgent interrupts it; narrows needs no lock, because nobody else has its memory.
 * Everything is static: configSUPPORT_STATIC_ALLOCATION must be 1.
 */
#include <FreeRTOS.h>
#include <queue.h>
#include <task.h>

#include "digits_net.h"
#include "narrows.h"

enum { ROW_BYTES = 32, ROWS_WAITING = 2, STACK_WORDS = 512 };

struct row {
    int8_t elements[ROW_BYTES];
};

/* Rows that an interrupt or another task sends: xQueueSend, xQueueSendFromISR. */
QueueHandle_t digits_rows;
/* Answers: an int, the digit or a negative enum nrw_status. */
QueueHandle_t digits_answers;

/* Creates queues and task; to be called before or after the scheduler has started. */
void digits_task_start(UBaseType_t priority);

/* One picture. Returns the digit or a negative enum nrw_status. */
static int classify(struct nrw_run *run, const struct nrw_model *model, void *memory,
                    size_t memory_bytes)
{
    int status = nrw_start(run, model, memory, memory_bytes);

    while (status >= 0 && status != NRW_DONE) {
        status = nrw_step(run);
        if (status == NRW_NEED_ROW) {
            if (nrw_due_bytes(run) != ROW_BYTES) {
                return NRW_ERR_STATE;
            }
            /* The queue copies the row right to where it belongs. */
            xQueueReceive(digits_rows, nrw_row_slot(run), portMAX_DELAY);
            status = nrw_push_slot(run);
        }
    }
    if (status < 0) {
        return status;
    }
    const int8_t *const scores = nrw_output(run, 0);
    int best = 0;
    for (int i = 1; i < 10; i++) {
        best = scores[i] > scores[best] ? i : best;
    }
    return best;
}

static void digits_task(void *unused)
{
    static DIGITS_NET_ALIGNED uint8_t memory[DIGITS_NET_MEMORY_BYTES];
    static struct nrw_model model;
    static struct nrw_run run;
    int answer = nrw_open(&model, digits_net, DIGITS_NET_BYTES);

    (void)unused;
    if (answer == NRW_OK) {
        answer = nrw_verify(&model);
    }
    while (answer >= 0) {
        answer = classify(&run, &model, memory, sizeof memory);
        xQueueSend(digits_answers, &answer, portMAX_DELAY);
    }
    vTaskSuspend(NULL); /* A task of FreeRTOS never returns. */
}

void digits_task_start(UBaseType_t priority)
{
    static uint8_t row_storage[ROWS_WAITING * sizeof(struct row)], answer_storage[sizeof(int)];
    static StaticQueue_t row_queue, answer_queue;
    static StackType_t stack[STACK_WORDS];
    static StaticTask_t task;

    digits_rows = xQueueCreateStatic(ROWS_WAITING, sizeof(struct row), row_storage, &row_queue);
    digits_answers = xQueueCreateStatic(1, sizeof(int), answer_storage, &answer_queue);
    xTaskCreateStatic(digits_task, "digits", STACK_WORDS, NULL, priority, stack, &task);
}
