/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The application as a task of ESP-IDF. What port.h asks of a core and of firmware/app/main.c beyond this
 * (vectors, interrupts, faults, chip_begin) is ESP-IDF's own business.
 */
#include <stddef.h>

#include <driver/uart.h>
#include <esp_err.h>
#include <esp_heap_caps.h>
#include <esp_log.h>
#include <esp_partition.h>
#include <esp_system.h>
#include <esp_timer.h>
#include <freertos/FreeRTOS.h>
#include <freertos/task.h>

#include "board.h"
#include "narrows_start.h"
#include "port.h"
#include "requests.h"
#include "server.h"

/* ESP-IDF writes any number of bytes, and stops what runs from flash during each call: a larger unit makes
 * fewer calls. */
enum { UNIT = 16, SECTOR = 4096, ERASED = 0xFF };
enum { ALIGNMENT = 16, TIMER_HZ = 1000000, CHUNK = 64 };
/* Two slots of one sector each. */
enum { LEAST_SECTORS = 2 };
/* How often a run lets tasks of lower priority have their turn: well within the 5 s after which ESP-IDF's
 * watchdog of tasks by default misses the idle task. */
enum { TURN_TICKS = TIMER_HZ };

#define UART ((uart_port_t)CONFIG_NARROWS_UART)
#define ARENA_CAPS (MALLOC_CAP_INTERNAL | MALLOC_CAP_8BIT)

static const char *const TAG = "narrows";

static const esp_partition_t *partition;
static struct port_flash flash;
static uint8_t *arena;
static uint64_t last_turn; /* ticks when other tasks have had theirs */

/* --- Memory ---------------------------------------------------------------------------------- */

static esp_err_t memory_begin(void)
{
    arena = heap_caps_aligned_alloc(ALIGNMENT, CONFIG_NARROWS_ARENA_BYTES, ARENA_CAPS);
    if (arena == NULL) {
        ESP_LOGE(TAG, "no block of %d bytes for models in the heap, the largest has %u; lower "
                      "NARROWS_ARENA_BYTES in menuconfig",
                 CONFIG_NARROWS_ARENA_BYTES, (unsigned)heap_caps_get_largest_free_block(ARENA_CAPS));
        return ESP_ERR_NO_MEM;
    }
    return ESP_OK;
}

void port_memory(struct port_memory *memory)
{
    *memory = (struct port_memory){
        .arenas = {{arena, CONFIG_NARROWS_ARENA_BYTES}},
        .static_bytes = (uint32_t)(sizeof server + sizeof server_store + sizeof server_model +
                                   sizeof server_run) +
                        BOARD_RECEIVE_BYTES, /* the UART driver's buffer */
        .stack_bytes = CONFIG_NARROWS_STACK_BYTES,
    };
}

/* Interrupts have a stack of their own in ESP-IDF, which is not counted. */
uint32_t port_stack_high_water(void)
{
    return CONFIG_NARROWS_STACK_BYTES -
           (uint32_t)(uxTaskGetStackHighWaterMark(NULL) * sizeof(StackType_t));
}

uint32_t esp_idf_ram_bytes(void)
{
    return (uint32_t)heap_caps_get_total_size(ARENA_CAPS);
}

/* --- Time ------------------------------------------------------------------------------------ */

uint32_t port_timer_hz(void)
{
    return TIMER_HZ;
}

uint64_t port_ticks(void)
{
    return (uint64_t)esp_timer_get_time();
}

void port_watchdog_feed(void)
{
    if (port_ticks() - last_turn >= TURN_TICKS) {
        vTaskDelay(1);
        last_turn = port_ticks();
    }
}

void port_reset(void)
{
    uart_wait_tx_done(UART, portMAX_DELAY);
    esp_restart();
}

/* --- UART ------------------------------------------------------------------------------------ */

static esp_err_t uart_begin(void)
{
    const uart_config_t config = {
        .baud_rate = BOARD_UART_BAUD,
        .data_bits = UART_DATA_8_BITS,
        .parity = UART_PARITY_DISABLE,
        .stop_bits = UART_STOP_BITS_1,
        .flow_ctrl = UART_HW_FLOWCTRL_DISABLE,
        .source_clk = UART_SCLK_DEFAULT,
    };
    /* Without a buffer for sending, uart_write_bytes waits as port_uart_send has to. */
    esp_err_t error = uart_driver_install(UART, BOARD_RECEIVE_BYTES, 0, 0, NULL, 0);

    if (error == ESP_OK) {
        error = uart_param_config(UART, &config);
    }
    if (error == ESP_OK) {
        error = uart_set_pin(UART, CONFIG_NARROWS_UART_TX, CONFIG_NARROWS_UART_RX, UART_PIN_NO_CHANGE,
                             UART_PIN_NO_CHANGE);
    }
    if (error != ESP_OK) {
        ESP_LOGE(TAG, "UART %d: %s; see NARROWS_UART, its pins and its rate in menuconfig",
                 CONFIG_NARROWS_UART, esp_err_to_name(error));
    }
    return error;
}

/* Give the application what the driver has, which its ring has room for: server_poll leaves it empty. */
static void receive(void)
{
    uint8_t bytes[CHUNK];
    int count = CHUNK;

    for (int room = BOARD_RECEIVE_BYTES; room >= CHUNK && count == CHUNK; room -= CHUNK) {
        count = uart_read_bytes(UART, bytes, CHUNK, 0);
        for (int i = 0; i < count; i++) {
            app_received(bytes[i]);
        }
    }
}

/* Until a byte has come, of which there is room for one in the ring: server_poll has found it empty. */
void port_sleep(void)
{
    uint8_t byte;

    if (uart_read_bytes(UART, &byte, 1, portMAX_DELAY) == 1) {
        app_received(byte);
    }
    last_turn = port_ticks();
}

void port_uart_send(uint8_t byte)
{
    uart_write_bytes(UART, &byte, 1);
}

/* ESP-IDF does not say beforehand which rates a clock can make, so the rate is set, read and, where it was
 * only a question, set back. The line is silent meanwhile: the host waits for the answer. */
bool port_uart_set_baud(uint32_t baud, bool change)
{
    uint32_t before = 0, made = 0;

    uart_wait_tx_done(UART, portMAX_DELAY);
    if (baud > UART_BITRATE_MAX || uart_get_baudrate(UART, &before) != ESP_OK) {
        return false;
    }
    const uint32_t most_off = baud / 50; /* 2% */
    const bool good = uart_set_baudrate(UART, baud) == ESP_OK &&
                      uart_get_baudrate(UART, &made) == ESP_OK && made >= baud - most_off &&
                      made <= baud + most_off;

    if (!good || !change) {
        uart_set_baudrate(UART, before);
    }
    return good;
}

/* --- Flash ----------------------------------------------------------------------------------- */

/* ESP-IDF refuses what is beyond the partition, and what is no whole sector. It leaves the cache, through
 * which `flash.base` is read, without what stood there before. */
static bool erase(uint32_t offset)
{
    return esp_partition_erase_range(partition, offset, SECTOR) == ESP_OK;
}

static bool program(uint32_t offset, const uint8_t *unit)
{
    return offset % UNIT == 0 && esp_partition_write(partition, offset, unit, UNIT) == ESP_OK;
}

static esp_err_t flash_begin(void)
{
    const void *base = NULL;
    esp_partition_mmap_handle_t handle; /* the partition stays mapped until the next reset */

    partition = esp_partition_find_first(ESP_PARTITION_TYPE_DATA, ESP_PARTITION_SUBTYPE_ANY,
                                         CONFIG_NARROWS_PARTITION);
    if (partition == NULL) {
        ESP_LOGE(TAG, "no partition %s of type data; add it to the partition table, or name another "
                      "by NARROWS_PARTITION in menuconfig",
                 CONFIG_NARROWS_PARTITION);
        return ESP_ERR_NOT_FOUND;
    }
    if (partition->encrypted || partition->erase_size != SECTOR ||
        partition->size < LEAST_SECTORS * SECTOR) {
        ESP_LOGE(TAG, "partition %s: must not be encrypted, in sectors of %d bytes, at least %d",
                 partition->label, SECTOR, LEAST_SECTORS);
        return ESP_ERR_NOT_SUPPORTED;
    }
    const uint32_t bytes = partition->size / SECTOR * SECTOR;
    const esp_err_t error =
        esp_partition_mmap(partition, 0, bytes, ESP_PARTITION_MMAP_DATA, &base, &handle);

    if (error != ESP_OK) {
        ESP_LOGE(TAG, "partition %s: %u bytes cannot be mapped: %s", partition->label,
                 (unsigned)bytes, esp_err_to_name(error));
        return error;
    }
    flash = (struct port_flash){
        .base = base,
        .bytes = bytes,
        .erase_bytes = SECTOR,
        .program_bytes = UNIT,
        .erased = ERASED,
        .erase = erase,
        .program = program,
    };
    return ESP_OK;
}

const struct port_flash *port_flash(void)
{
    return &flash;
}

uint32_t esp_idf_code_bytes(void)
{
    const esp_partition_t *code =
        esp_partition_find_first(ESP_PARTITION_TYPE_APP, ESP_PARTITION_SUBTYPE_ANY, NULL);

    return code != NULL ? code->size : 0;
}

/* --- The task -------------------------------------------------------------------------------- */

static void serve(void *unused)
{
    (void)unused;
    server_begin();
    for (;;) {
        port_watchdog_feed();
        receive();
        if (!server_poll()) {
            port_sleep();
        }
    }
}

esp_err_t narrows_start(void)
{
    esp_err_t error = flash_begin();

    if (error == ESP_OK) {
        error = memory_begin();
    }
    if (error == ESP_OK) {
        error = uart_begin();
    }
    if (error == ESP_OK && xTaskCreate(serve, TAG, CONFIG_NARROWS_STACK_BYTES, NULL,
                                       CONFIG_NARROWS_TASK_PRIORITY, NULL) != pdPASS) {
        ESP_LOGE(TAG, "no memory for a task with %d bytes of stack", CONFIG_NARROWS_STACK_BYTES);
        error = ESP_ERR_NO_MEM;
    }
    return error;
}
