/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver of a timer over the model of its registers: time passes between any two accesses, little
 * or much, most often right where 32 bits run over; interrupts come late.
 */
#include "timer.h"

#include "board.h"
#include "port.h"

#define HALF 0x80000000u
enum { ROUNDS = 20000 };

void timer_interrupt(void);

/* For the timers that need none. */
__attribute__((weak)) void timer_interrupt(void)
{
    violation("an interrupt that nobody handles", 0);
}

static uint64_t now;
static uint64_t pending_since;
static bool is_in_interrupt, runs;

static void serve(void)
{
    is_in_interrupt = true;
    timer_interrupt();
    if (model_interrupts()) { /* the next came meanwhile */
        timer_interrupt();
    }
    is_in_interrupt = false;
    REQUIRE(!model_interrupts());
}

static void advance(uint64_t ticks)
{
    const bool was_pending = model_interrupts();

    model_advance(now, now + ticks);
    now += ticks;
    if (!was_pending && model_interrupts()) {
        pending_since = now;
    }
    /* An interrupt waits for others, but not until the next one comes. */
    if (runs && !is_in_interrupt && model_interrupts() &&
        (drawn(4) == 0 || now - pending_since > HALF / 4)) {
        serve();
    }
}

uint64_t access_time(void)
{
    advance(drawn(8) == 0 ? drawn(100000) : drawn(4));
    return now;
}

/* To right before or behind a place where the low bits, or the highest of them, change. */
static void advance_much(void)
{
    const uint64_t edge = (now / HALF + 1) * HALF - 8 + drawn(12);

    if (drawn(3) > 0 && edge > now) {
        while (now < edge) {
            advance(edge - now < HALF / 8 ? edge - now : HALF / 8);
        }
    } else {
        advance(drawn(1u << 20));
    }
}

void test(void)
{
    uint64_t last = 0;

    now = drawn(2) == 0 ? (uint64_t)drawn(16) << 32 | (0xFFFFFFFFu - drawn(8)) : drawn(1000);
    const uint64_t least = now;
    port_timer_begin();
    const uint64_t most = now;
    runs = true;
    REQUIRE(port_timer_hz() == BOARD_TIMER_HZ);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        const uint64_t before = now;
        const uint64_t ticks = port_ticks();
        REQUIRE(ticks >= last);
        REQUIRE(ticks + most >= before && ticks + least <= now);
        last = ticks;
        if (drawn(2) == 0) {
            advance_much();
        }
    }
    REQUIRE(last > 100ull << 32);
}
