/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host FLASH PARTITION...: firmware/esp_idf's example as a program, see host.h. esp_restart() runs it anew
 * over the same terminal and the same flash, with all variables gone.
 */
#define _GNU_SOURCE
#include "host.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "esp_err.h"
#include "esp_heap_caps.h"
#include "esp_log.h"
#include "esp_system.h"
#include "esp_timer.h"
#include "freertos/task.h"

enum { HEAP_BYTES = 300000, PAINT = 0xA5, NS_PER_TICK = 1000000000 / configTICK_RATE_HZ };
enum { WATCHDOG_US = 5000000 };

void app_main(void);

static char **arguments;
static size_t heap_used;
static int64_t clock_calls, idle_us;
static struct task {
    TaskFunction_t code;
    void *parameters;
    uint8_t *stack;
    uint32_t stack_bytes;
} task;

/* --- System ---------------------------------------------------------------------------------- */

void esp_restart(void)
{
    execv("/proc/self/exe", arguments);
    abort();
}

/* With HOST_CALL_US in the environment so many microseconds pass from one call to the next, whatever this
 * machine needs for it, and the watchdog of the idle task is on. */
int64_t esp_timer_get_time(void)
{
    const char *call_us = getenv("HOST_CALL_US");
    struct timespec now;

    if (call_us != NULL) {
        clock_calls++;
        RULE(clock_calls * atoi(call_us) - idle_us <= WATCHDOG_US);
        return clock_calls * atoi(call_us);
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

void host_idle(void)
{
    const char *call_us = getenv("HOST_CALL_US");

    idle_us = call_us != NULL ? clock_calls * atoi(call_us) : 0;
}

const char *esp_err_to_name(esp_err_t code)
{
    return code == ESP_ERR_NO_MEM          ? "ESP_ERR_NO_MEM"
           : code == ESP_ERR_NOT_FOUND     ? "ESP_ERR_NOT_FOUND"
           : code == ESP_ERR_NOT_SUPPORTED ? "ESP_ERR_NOT_SUPPORTED"
           : code == ESP_FAIL              ? "ESP_FAIL"
                                           : "another";
}

void esp_error_check_failed(esp_err_t code)
{
    fprintf(stderr, "ESP_ERROR_CHECK failed: %s\n", esp_err_to_name(code));
    abort();
}

void esp_log_write(esp_log_level_t level, const char *tag, const char *format, ...)
{
    va_list rest;

    (void)level;
    (void)tag;
    va_start(rest, format);
    vfprintf(stderr, format, rest);
    va_end(rest);
}

/* --- Heap ------------------------------------------------------------------------------------ */

/* Filled with what nobody expects, as RAM is after a reset. */
void *heap_caps_aligned_alloc(size_t alignment, size_t size, uint32_t caps)
{
    void *place = NULL;

    if (size > heap_caps_get_largest_free_block(caps)) {
        return NULL;
    }
    RULE(posix_memalign(&place, alignment, size) == 0);
    memset(place, PAINT, size);
    heap_used += size;
    return place;
}

size_t heap_caps_get_largest_free_block(uint32_t caps)
{
    RULE(caps == (MALLOC_CAP_8BIT | MALLOC_CAP_INTERNAL));
    return HEAP_BYTES - heap_used;
}

size_t heap_caps_get_total_size(uint32_t caps)
{
    RULE(caps == (MALLOC_CAP_8BIT | MALLOC_CAP_INTERNAL));
    return HEAP_BYTES;
}

/* --- The one task ---------------------------------------------------------------------------- */

static void *enter(void *unused)
{
    (void)unused;
    task.code(task.parameters);
    RULE(!"a task of FreeRTOS may not return");
    return NULL;
}

BaseType_t xTaskCreate(TaskFunction_t pxTaskCode, const char *const pcName,
                       const uint32_t usStackDepth, void *const pvParameters,
                       UBaseType_t uxPriority, TaskHandle_t *const pxCreatedTask)
{
    pthread_attr_t attributes;
    pthread_t thread;

    RULE(task.code == NULL && strlen(pcName) < 16 && uxPriority > 0 && pxCreatedTask == NULL);
    task.code = pxTaskCode;
    task.parameters = pvParameters;
    task.stack_bytes = usStackDepth;
    task.stack = mmap(NULL, usStackDepth, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    RULE(task.stack != MAP_FAILED);
    memset(task.stack, PAINT, usStackDepth);
    pthread_attr_init(&attributes);
    RULE(pthread_attr_setstack(&attributes, task.stack, usStackDepth) == 0);
    RULE(pthread_create(&thread, &attributes, enter, NULL) == 0);
    return pdPASS;
}

/* Bytes at the stack's end that nothing has been written to. */
__attribute__((no_sanitize_address)) UBaseType_t uxTaskGetStackHighWaterMark(TaskHandle_t xTask)
{
    UBaseType_t untouched = 0;

    RULE(xTask == NULL);
    while (untouched < task.stack_bytes && task.stack[untouched] == PAINT) {
        untouched++;
    }
    return untouched;
}

void vTaskDelay(const TickType_t xTicksToDelay)
{
    const struct timespec ticks = {.tv_nsec = (long)xTicksToDelay * NS_PER_TICK};

    RULE(xTicksToDelay < configTICK_RATE_HZ);
    nanosleep(&ticks, NULL);
    host_idle();
}

int main(int count, char **values)
{
    arguments = values;
    RULE(count >= 2);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    host_flash_open(values[1]);
    for (int i = 2; i < count; i++) {
        host_flash_add(values[i]);
    }
    host_uart_open();
    app_main();
    for (;;) {
        pause();
    }
}
