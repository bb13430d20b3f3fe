/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The main loop's example on the host. Its clock goes by the calls: each step takes some ticks, and
 * the test is that no turn of the other work comes late once the longest step is known.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picture.h"

uint32_t clock_now(void);
bool sensor_row(int8_t *to, uint32_t bytes);
void control_turn(void);
void digit_found(int digit);
int main_loop(void);

enum { TURN = 1000, STEP = 130, LONG_STEP = 400, LONG_EVERY = 7, PICTURES = 3 };

/* Near its end, so that it wraps around in the first turns. */
static uint32_t now = 0xfffffc00u, last_turn;
static int calls, row, turns, late, found;
static bool is_row_there = true;

/* The example asks before each step and behind it: every other call a step has passed. */
uint32_t clock_now(void)
{
    calls++;
    now += calls % LONG_EVERY == 0 ? LONG_STEP / 2 : STEP / 2;
    return now;
}

bool sensor_row(int8_t *to, uint32_t bytes)
{
    /* Now and then there is no row yet. */
    is_row_there = !is_row_there || row % 5 != 0;
    if (!is_row_there) {
        return false;
    }
    memcpy(to, picture[row++ % PICTURE_ROWS], bytes);
    return true;
}

void control_turn(void)
{
    if (turns > 1 && now - last_turn > TURN + 2 * LONG_STEP) {
        late++;
    }
    last_turn = now;
    turns++;
}

void digit_found(int digit)
{
    printf("%d\n", digit);
    found++;
    if (found == PICTURES) {
        printf("%d turns, %d late\n", turns > PICTURES, late);
        exit(digit < 0);
    }
}

int main(void)
{
    return main_loop() < 0 ? 1 : 2;
}
