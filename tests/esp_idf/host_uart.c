/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The UART's driver over a pseudo terminal. Bytes that come at another rate than the UART's, which the
 * terminal knows of both sides, are lost, and so are those that the driver's buffer has no room for.
 */
#define _XOPEN_SOURCE 600
#define _DEFAULT_SOURCE
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "driver/uart.h"

enum { CLOCK_HZ = 80000000, FIFO_BYTES = 128, UARTS = 2, PINS = 22, MOST_DIVIDER = 4095 };
enum { MOST_PREDIVIDER = 256, MS_PER_TICK = 1000 / configTICK_RATE_HZ, MS_TO_SEND = 1000 };

static int terminal = -1;
static struct {
    uart_port_t port;
    bool installed;
    uint32_t rate;
    uint8_t *bytes;
    uint32_t room, count;
} uart = {.rate = 115200};

void host_uart_open(void)
{
    const char *kept = getenv("HOST_TERMINAL");
    struct termios settings;

    if (kept != NULL) {
        terminal = atoi(kept);
        return;
    }
    terminal = posix_openpt(O_RDWR | O_NOCTTY);
    RULE(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    /* While a descriptor of this side is open, hosts may come and go. */
    const int other = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    RULE(other >= 0 && tcgetattr(other, &settings) == 0);
    cfmakeraw(&settings);
    cfsetspeed(&settings, B115200);
    RULE(tcsetattr(other, TCSANOW, &settings) == 0);
    RULE(fcntl(terminal, F_SETFL, O_NONBLOCK) == 0);
    char number[16];
    snprintf(number, sizeof number, "%d", terminal);
    setenv("HOST_TERMINAL", number, 1);
    printf("%s\n", ptsname(terminal));
    fflush(stdout);
}

static bool near(uint32_t rate, uint32_t other)
{
    return rate >= other - other / 50 && rate <= other + other / 50;
}

static bool rates_agree(void)
{
    static const struct {
        speed_t code;
        uint32_t rate;
    } speeds[] = {{B9600, 9600}, {B115200, 115200}, {B230400, 230400}, {B921600, 921600}};
    struct termios settings;
    bool agree = false;

    RULE(tcgetattr(terminal, &settings) == 0);
    for (size_t i = 0; i < sizeof speeds / sizeof speeds[0]; i++) {
        agree = agree || (cfgetospeed(&settings) == speeds[i].code && near(uart.rate, speeds[i].rate));
    }
    return agree;
}

/* Take from the terminal what has come. */
static void take(void)
{
    uint8_t bytes[256];

    for (ssize_t got; (got = read(terminal, bytes, sizeof bytes)) > 0;) {
        const bool good = rates_agree();
        for (ssize_t i = 0; i < got; i++) {
            if (good && uart.count < uart.room) {
                uart.bytes[uart.count++] = bytes[i];
            } else {
                fprintf(stderr, "host: a byte is lost: %s\n", good ? "no room" : "another rate");
            }
        }
    }
}

esp_err_t uart_driver_install(uart_port_t uart_num, int rx_buffer_size, int tx_buffer_size,
                              int queue_size, QueueHandle_t *uart_queue, int intr_alloc_flags)
{
    RULE(!uart.installed && uart_queue == NULL && queue_size == 0 && intr_alloc_flags == 0);
    if (uart_num < 0 || uart_num >= UARTS || rx_buffer_size <= FIFO_BYTES ||
        (tx_buffer_size != 0 && tx_buffer_size <= FIFO_BYTES)) {
        return ESP_FAIL;
    }
    uart.port = uart_num;
    uart.installed = true;
    uart.room = (uint32_t)rx_buffer_size;
    uart.bytes = malloc(uart.room);
    RULE(uart.bytes != NULL);
    return ESP_OK;
}

esp_err_t uart_param_config(uart_port_t uart_num, const uart_config_t *uart_config)
{
    RULE(uart_config->data_bits == UART_DATA_8_BITS && uart_config->parity == UART_PARITY_DISABLE);
    RULE(uart_config->stop_bits == UART_STOP_BITS_1 && uart_config->source_clk == UART_SCLK_DEFAULT);
    RULE(uart_config->flow_ctrl == UART_HW_FLOWCTRL_DISABLE);
    return uart_set_baudrate(uart_num, (uint32_t)uart_config->baud_rate);
}

esp_err_t uart_set_pin(uart_port_t uart_num, int tx_io_num, int rx_io_num, int rts_io_num,
                       int cts_io_num)
{
    RULE(uart_num == uart.port);
    RULE(rts_io_num == UART_PIN_NO_CHANGE && cts_io_num == UART_PIN_NO_CHANGE);
    return tx_io_num < PINS && rx_io_num < PINS ? ESP_OK : ESP_FAIL;
}

/* The clock goes through a whole divider, and one with four bits behind the point. */
esp_err_t uart_set_baudrate(uart_port_t uart_num, uint32_t baudrate)
{
    RULE(uart_num == uart.port && baudrate <= UART_BITRATE_MAX);
    if (baudrate == 0) {
        return ESP_FAIL;
    }
    const uint64_t most = (uint64_t)MOST_DIVIDER * baudrate;
    const uint32_t before = (uint32_t)((CLOCK_HZ + most - 1) / most);
    if (before > MOST_PREDIVIDER) {
        return ESP_FAIL;
    }
    const uint64_t divider = ((uint64_t)CLOCK_HZ << 4) / ((uint64_t)baudrate * before);
    uart.rate = (uint32_t)(((uint64_t)CLOCK_HZ << 4) / (divider * before));
    return ESP_OK;
}

esp_err_t uart_get_baudrate(uart_port_t uart_num, uint32_t *baudrate)
{
    RULE(uart_num == uart.port);
    *baudrate = uart.rate;
    return ESP_OK;
}

esp_err_t uart_wait_tx_done(uart_port_t uart_num, TickType_t ticks_to_wait)
{
    RULE(uart.installed && uart_num == uart.port && ticks_to_wait > 0);
    return ESP_OK;
}

/* What nobody takes is gone, as on a line. */
int uart_write_bytes(uart_port_t uart_num, const void *src, size_t size)
{
    const uint8_t *bytes = src;

    RULE(uart.installed && uart_num == uart.port);
    for (size_t sent = 0; sent < size && rates_agree();) {
        const ssize_t some = write(terminal, bytes + sent, size - sent);
        struct pollfd room = {.fd = terminal, .events = POLLOUT};
        if (some > 0) {
            sent += (size_t)some;
        } else if (errno != EAGAIN || poll(&room, 1, MS_TO_SEND) <= 0) {
            break;
        }
    }
    return (int)size;
}

int uart_read_bytes(uart_port_t uart_num, void *buf, uint32_t length, TickType_t ticks_to_wait)
{
    struct pollfd come = {.fd = terminal, .events = POLLIN};
    const int wait = ticks_to_wait == portMAX_DELAY ? -1 : (int)ticks_to_wait * MS_PER_TICK;

    RULE(uart.installed && uart_num == uart.port);
    take();
    while (uart.count < length && wait != 0 && poll(&come, 1, wait) > 0) {
        take();
    }
    if (wait != 0) {
        host_idle();
    }
    const uint32_t given = uart.count < length ? uart.count : length;
    memcpy(buf, uart.bytes, given);
    uart.count -= given;
    memmove(uart.bytes, uart.bytes + given, uart.count);
    return (int)given;
}
