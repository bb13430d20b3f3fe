/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recognizes a handwritten digit that stands in flash, and prints which it is. `narrows embed` has made
 * digits_net.c and digits_net.h.
 */
#include <stdio.h>

#include "digit_picture.h"
#include "digits_net.h"
#include "narrows.h"

/* A camera would give a row of pixels here. */
static void read_row(int8_t *to, uint32_t bytes, uint32_t row)
{
    for (uint32_t i = 0; i < bytes; i++) {
        to[i] = (int8_t)(digit_picture[row * bytes + i] - 128);
    }
}

int main(void)
{
    static DIGITS_NET_ALIGNED uint8_t memory[DIGITS_NET_MEMORY_BYTES];
    struct nrw_model model;
    struct nrw_run run;
    uint32_t row = 0;
    int status = nrw_open(&model, digits_net, DIGITS_NET_BYTES);

    if (status == NRW_OK) {
        status = nrw_verify(&model);
    }
    if (status == NRW_OK) {
        status = nrw_start(&run, &model, memory, sizeof memory);
    }
    while (status >= 0 && status != NRW_DONE) {
        status = nrw_step(&run);
        if (status == NRW_NEED_ROW) {
            read_row(nrw_row_slot(&run), nrw_due_bytes(&run), row++);
            status = nrw_push_slot(&run);
        }
    }
    if (status < 0) {
        printf("failed: %d\n", status);
        return 1;
    }
    const int8_t *const scores = nrw_output(&run, 0);
    int best = 0;
    for (int i = 1; i < 10; i++) {
        best = scores[i] > scores[best] ? i : best;
    }
    printf("digit %d\n", best);
    return 0;
}
