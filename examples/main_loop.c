/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A main loop without an operating system, with other work to do on time: in each turn the network may
 * use what is left until the deadline. A step is never interrupted, so another one begins only if the
 * longest one so far would still end in time. Work of a step is bounded (`narrows info` says how
 * much), so the longest one of a run on the board is the longest of all.
 */
#include <stdbool.h>
#include <stdint.h>

#include "digits_net.h"
#include "narrows.h"

/* --- What the board has, for you to write ----------------------------------------------------- */

/* A clock that wraps around, such as DWT's cycle counter or SysTick's milliseconds. */
uint32_t clock_now(void);
/* The next row of the picture, if there is one: int8 elements of the model. */
bool sensor_row(int8_t *to, uint32_t bytes);
/* The work that must not wait: motor control, radio, display. */
void control_turn(void);
/* What to do with an answer: the best class, or a negative enum nrw_status. */
void digit_found(int digit);

enum { TURN = 1000 }; /* clock ticks between two calls of control_turn() */

/* Begins, and never returns unless the model is refused: a negative enum nrw_status. */
int main_loop(void);
/* One turn of it, which ends before `deadline` as far as earlier steps can tell. */
int network_turn(struct nrw_run *run, uint32_t deadline);

static uint32_t longest_step; /* in ticks; 0 before the first one */

int network_turn(struct nrw_run *run, uint32_t deadline)
{
    for (;;) {
        const uint32_t before = clock_now();

        /* Differences are right where the clock wraps around. */
        if ((int32_t)(deadline - before) < (int32_t)longest_step) {
            return NRW_OK;
        }
        int status = nrw_step(run);
        if (status == NRW_NEED_ROW) {
            if (!sensor_row(nrw_row_slot(run), nrw_due_bytes(run))) {
                return NRW_OK; /* Asking again in the next turn costs next to nothing. */
            }
            status = nrw_push_slot(run);
        }
        const uint32_t ticks = clock_now() - before;

        longest_step = ticks > longest_step ? ticks : longest_step;
        if (status != NRW_OK) {
            return status;
        }
    }
}

int main_loop(void)
{
    static DIGITS_NET_ALIGNED uint8_t memory[DIGITS_NET_MEMORY_BYTES];
    struct nrw_model model;
    struct nrw_run run;
    int status = nrw_open(&model, digits_net, DIGITS_NET_BYTES);

    if (status == NRW_OK) {
        status = nrw_verify(&model);
    }
    if (status == NRW_OK) {
        status = nrw_start(&run, &model, memory, sizeof memory);
    }
    uint32_t deadline = clock_now();
    while (status >= 0) {
        control_turn();
        deadline += TURN;
        status = network_turn(&run, deadline);
        if (status == NRW_DONE) {
            const int8_t *const scores = nrw_output(&run, 0);
            int best = 0;
            for (int i = 1; i < 10; i++) {
                best = scores[i] > scores[best] ? i : best;
            }
            digit_found(best);
            status = nrw_start(&run, &model, memory, sizeof memory);
        } else {
            while ((int32_t)(deadline - clock_now()) > 0) {
            }
        }
    }
    return status;
}
