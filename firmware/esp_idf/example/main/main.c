/* SPDX-License-Identifier: Apache-2.0 */
#include <esp_err.h>

#include "narrows_start.h"

void app_main(void);

void app_main(void)
{
    ESP_ERROR_CHECK(narrows_start());
}
