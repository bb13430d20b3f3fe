/* SPDX-License-Identifier: Apache-2.0 */
/* What the sketch asks of Arduino, for the host: one turn of loop(), whose clock stands still. */
#ifndef ARDUINO_H
#define ARDUINO_H

#include <cstdint>
#include <cstdio>
#include <cstdlib>

struct HostSerial {
    void begin(long) {}
    void print(const char *text) { std::printf("%s", text); }
    void print(int number) { std::printf("%d", number); }
    void println(int number) { std::printf("%d\n", number); }
    void println(unsigned long number) { std::printf("%lu\n", number); }
};
static HostSerial Serial;

static inline unsigned long micros() { return 0; }
static inline void delay(unsigned long) { std::exit(0); }

void setup();
void loop();

int main()
{
    setup();
    for (;;) {
        loop();
    }
}

#endif
