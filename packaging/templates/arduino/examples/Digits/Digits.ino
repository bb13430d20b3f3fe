// SPDX-License-Identifier: Apache-2.0
// Recognizes a handwritten digit that stands in flash, and says over the serial port which it is and how
// long it took. `narrows embed` has made digits_net.c and digits_net.h.
#include <narrows.h>

#include "digit_picture.h"
#include "digits_net.h"

alignas(16) static uint8_t memory[DIGITS_NET_MEMORY_BYTES];
static struct nrw_model model;

// A camera would give a row of pixels here.
static void readRow(int8_t *to, uint32_t bytes, int row)
{
    for (uint32_t i = 0; i < bytes; i++) {
        to[i] = (int8_t)(digit_picture[(uint32_t)row * bytes + i] - 128);
    }
}

// The digit, or a negative enum nrw_status.
static int classify()
{
    struct nrw_run run;
    int row = 0;
    int status = nrw_start(&run, &model, memory, sizeof memory);
    while (status >= 0 && status != NRW_DONE) {
        status = nrw_step(&run);
        if (status == NRW_NEED_ROW) {
            readRow((int8_t *)nrw_row_slot(&run), nrw_due_bytes(&run), row++);
            status = nrw_push_slot(&run);
        }
    }
    if (status < 0) {
        return status;
    }
    const int8_t *scores = (const int8_t *)nrw_output(&run, 0);
    int best = 0;
    for (int i = 1; i < 10; i++) {
        if (scores[i] > scores[best]) {
            best = i;
        }
    }
    return best;
}

void setup()
{
    Serial.begin(115200);
    int status = nrw_open(&model, digits_net, DIGITS_NET_BYTES);
    if (status == NRW_OK) {
        status = nrw_verify(&model);
    }
    if (status != NRW_OK) {
        Serial.print("the network is refused: ");
        Serial.println(status);
        for (;;) {
            delay(1000);
        }
    }
}

void loop()
{
    const unsigned long before = micros();
    const int digit = classify();
    const unsigned long after = micros();
    Serial.print("digit ");
    Serial.print(digit);
    Serial.print(", microseconds ");
    Serial.println(after - before);
    delay(1000);
}
