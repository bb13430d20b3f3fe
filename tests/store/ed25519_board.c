/* SPDX-License-Identifier: Apache-2.0 */
/* One verification on a Cortex-M in QEMU: prints its instructions, by a timer that counts down once
 * in 40 of them (-icount shift=0), and the bytes of the painted stack that it wrote.
 * The command line of the compiler defines SIGNATURE, KEY and MESSAGE, lists of bytes. */
#include "ed25519.h"
#include "../c/test.h"

enum { INSTRUCTIONS_PER_TICK = 40, PAINTED = 2048, PAINT = 0xA5, TIMER_MOST = 0xFFFFFF };

/* SysTick (ARMv7-M architecture reference manual, B3.3). */
#define SYST_CSR (*(volatile uint32_t *)0xE000E010)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018)

static const uint8_t key[ED25519_KEY_BYTES] = {KEY};
static const uint8_t message[] = {MESSAGE};
static uint8_t signature[ED25519_SIGNATURE_BYTES] = {SIGNATURE};
static struct ed25519_scratch scratch;

static bool verify(void)
{
    return ed25519_verify(signature, key, message, sizeof message, &scratch);
}

/* Bytes from the bottom on that still have their paint. */
static uint32_t untouched(const volatile uint8_t *bottom)
{
    uint32_t count = 0;

    while (count < PAINTED && bottom[count] == PAINT) {
        count++;
    }
    return count;
}

int main(void)
{
    register uint8_t *top __asm__("sp");
    volatile uint8_t *const bottom = top - PAINTED;

    for (uint32_t i = 0; i < PAINTED; i++) {
        bottom[i] = PAINT;
    }
    SYST_RVR = TIMER_MOST;
    SYST_CVR = 0;
    SYST_CSR = 5; /* counts the processor's clock, without interrupts */
    const uint32_t before = SYST_CVR;
    const bool is_good = verify();
    const uint32_t ticks = (before - SYST_CVR) & TIMER_MOST;
    const uint32_t stack = PAINTED - untouched(bottom);

    test_say("instructions %d", (int)(ticks * INSTRUCTIONS_PER_TICK));
    test_say("stack %d", (int)stack);
    EXPECT(is_good);
    for (unsigned i = 0; i < sizeof signature; i += 9) {
        signature[i] ^= 1;
        EXPECT(!verify());
        signature[i] ^= 1;
    }
    EXPECT(verify());
    return 0;
}
