/* SPDX-License-Identifier: Apache-2.0 */
/* As ESP-IDF v5's API reference has it, as far as firmware/esp_idf uses it. */
#ifndef ESP_LOG_H
#define ESP_LOG_H

typedef enum {
    ESP_LOG_NONE,
    ESP_LOG_ERROR
} esp_log_level_t;

void esp_log_write(esp_log_level_t level, const char *tag, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define ESP_LOGE(tag, format, ...) \
    esp_log_write(ESP_LOG_ERROR, tag, "E %s: " format "\n", tag, __VA_ARGS__)

#endif
