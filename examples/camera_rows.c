/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A camera that sends lines by DMA, and a network that takes them as they come: there is no picture in
 * RAM, only two lines. While DMA fills one of them the network has the other, converted where it
 * belongs. A line that comes before the other one is taken is lost, so the picture is given up.
 */
#include <stdbool.h>
#include <stdint.h>

#include "digits_net.h"
#include "narrows.h"

enum { LINE_BYTES = 32, LINES = 32, BUFFERS = 2 };

/* --- What the board has, for you to write ----------------------------------------------------- */

/* Begins a picture: the camera calls camera_line_done() after each of LINES lines. */
void camera_start(void);
/* DMA puts the next line there: LINE_BYTES grey pixels of 0 to 255. */
void dma_receive(uint8_t *to, uint32_t bytes);
/* Sleeps until an interrupt comes (WFI). It returns at once if one came since it was asked last. */
void cpu_wait(void);

/* The interrupt at the end of a line. */
void camera_line_done(void);
/* The digit before the camera, or a negative enum nrw_status; NRW_ERR_STATE: a line was lost. */
int camera_classify(void);

/* --- Two lines -------------------------------------------------------------------------------- */

static uint8_t lines[BUFFERS][LINE_BYTES];
/* Each is written on one side only. Lines full so far: the interrupt; lines converted: the loop. */
static volatile uint32_t full, taken;
static volatile bool overrun;

void camera_line_done(void)
{
    const uint32_t count = full + 1;

    full = count;
    if (count == LINES) {
        return;
    }
    if (count - taken >= BUFFERS) {
        overrun = true; /* The next line's buffer is not converted yet. */
        return;
    }
    dma_receive(lines[count % BUFFERS], LINE_BYTES);
}

/* Gives the network its row: pixels of 0 to 255 become the model's -128 to 127. */
static int give_row(struct nrw_run *run)
{
    int8_t *const to = nrw_row_slot(run);
    const uint32_t bytes = nrw_due_bytes(run);

    while (full == taken && !overrun) {
        cpu_wait();
    }
    if (overrun || bytes != LINE_BYTES) {
        return NRW_ERR_STATE;
    }
    const uint8_t *const line = lines[taken % BUFFERS];
    for (uint32_t i = 0; i < bytes; i++) {
        to[i] = (int8_t)(line[i] - 128);
    }
    taken = taken + 1; /* From here on DMA may have the buffer. */
    return nrw_push_slot(run);
}

int camera_classify(void)
{
    static DIGITS_NET_ALIGNED uint8_t memory[DIGITS_NET_MEMORY_BYTES];
    struct nrw_model model;
    struct nrw_run run;
    int status = nrw_open(&model, digits_net, DIGITS_NET_BYTES);

    if (status == NRW_OK) {
        status = nrw_start(&run, &model, memory, sizeof memory);
    }
    if (status != NRW_OK) {
        return status;
    }
    full = taken = 0;
    overrun = false;
    dma_receive(lines[0], LINE_BYTES);
    camera_start();
    while (status >= 0 && status != NRW_DONE) {
        status = nrw_step(&run);
        if (status == NRW_NEED_ROW) {
            status = give_row(&run);
        }
    }
    if (status < 0) {
        return status;
    }
    const int8_t *const scores = nrw_output(&run, 0);
    int best = 0;
    for (int i = 1; i < 10; i++) {
        best = scores[i] > scores[best] ? i : best;
    }
    return best;
}
