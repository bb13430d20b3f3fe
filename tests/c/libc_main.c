/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The firmware's memory functions, against a byte at a time: every distance and alignment that
 * their blocks and words could mistake.
 */
#include <string.h>

#include "test.h"

enum { MOST = 96, ROOM = 2 * MOST + 64 };

/* A count that the compiler does not know, so that it calls the function. */
static size_t unknown(size_t count)
{
    static volatile size_t kept;

    kept = count;
    return kept;
}

static void fill(uint8_t *bytes)
{
    for (uint32_t i = 0; i < ROOM; i++) {
        bytes[i] = (uint8_t)(7 * i + (i >> 8) + 1);
    }
}

static void test_move(uint32_t to, uint32_t from, uint32_t count)
{
    static uint8_t actual[ROOM], expected[ROOM];
    uint8_t moved[MOST];

    test_case("memmove of %d bytes from %d to %d", (int)count, (int)from, (int)to);
    fill(actual);
    fill(expected);
    for (uint32_t i = 0; i < count; i++) {
        moved[i] = expected[from + i];
    }
    for (uint32_t i = 0; i < count; i++) {
        expected[to + i] = moved[i];
    }
    EXPECT(memmove(actual + to, actual + from, unknown(count)) == actual + to);
    for (uint32_t i = 0; i < ROOM; i++) {
        EXPECT_EQUAL(actual[i], expected[i]);
    }
}

static void test_set(uint32_t at, uint32_t count)
{
    static uint8_t actual[ROOM];

    test_case("memset of %d bytes at %d", (int)count, (int)at);
    fill(actual);
    EXPECT(memset(actual + at, 0x1C3, unknown(count)) == actual + at);
    for (uint32_t i = 0; i < ROOM; i++) {
        const uint8_t before = (uint8_t)(7 * i + (i >> 8) + 1);
        EXPECT_EQUAL(actual[i], i >= at && i < at + count ? 0xC3 : before);
    }
}

int main(void)
{
    for (uint32_t count = 0; count <= MOST; count += count < 40 ? 1 : 7) {
        for (uint32_t from = 40; from < 44; from++) {
            for (uint32_t to = 0; to <= 80; to++) {
                test_move(to, from, count);
            }
        }
        for (uint32_t at = 0; at < 8; at++) {
            test_set(at, count);
        }
    }
    test_say("memory functions: good");
    platform_exit(0);
    return 0;
}
