/* SPDX-License-Identifier: Apache-2.0 */
#include "port.h"
#include "server.h"

int main(void)
{
    port_chip_begin();
    port_timer_begin();
    port_uart_begin();
    server_begin();
    for (;;) {
        port_watchdog_feed(); /* server_poll does no more than one step */
        if (!server_poll()) {
            port_sleep();
        }
    }
}
