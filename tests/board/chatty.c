/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In the place of app/main.c: an application that prints a line of text whenever the server has
 * done something, so between any two frames, on the UART that carries them.
 */
#include "port.h"
#include "server.h"

static void print(const char *text)
{
    while (*text != 0) {
        port_uart_send((uint8_t)*text++);
    }
}

int main(void)
{
    port_timer_begin();
    port_uart_begin();
    print("boot: hello\r\n");
    server_begin();
    for (;;) {
        if (server_poll()) {
            print("[sensor] 23.4 degrees, 41% humidity\r\n");
        } else {
            port_sleep();
        }
    }
}
