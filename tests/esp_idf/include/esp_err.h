/* SPDX-License-Identifier: Apache-2.0 */
/* As ESP-IDF v5's API reference has it, as far as firmware/esp_idf uses it. */
#ifndef ESP_ERR_H
#define ESP_ERR_H

typedef int esp_err_t;

#define ESP_OK 0
#define ESP_FAIL -1
#define ESP_ERR_NO_MEM 0x101
#define ESP_ERR_INVALID_ARG 0x102
#define ESP_ERR_INVALID_STATE 0x103
#define ESP_ERR_INVALID_SIZE 0x104
#define ESP_ERR_NOT_FOUND 0x105
#define ESP_ERR_NOT_SUPPORTED 0x106

const char *esp_err_to_name(esp_err_t code);

void esp_error_check_failed(esp_err_t code) __attribute__((noreturn));

#define ESP_ERROR_CHECK(x)                     \
    do {                                       \
        const esp_err_t found = (x);           \
        if (found != ESP_OK) {                 \
            esp_error_check_failed(found);     \
        }                                      \
    } while (0)

#endif
