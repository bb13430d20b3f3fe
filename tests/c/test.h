/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A test harness that needs no libc: the same tests run on the host and on a board.
 * main() calls test functions; the first failure prints where and what, and ends the run.
 */
#ifndef NARROWS_TEST_H
#define NARROWS_TEST_H

#include <stddef.h>
#include <stdint.h>

/* --- The platform: host.c or qemu/platform.c ------------------------------------------- */
void platform_print(const char *text);
void platform_exit(int code);

/* --- What is being tested ----------------------------------------------------------------- */

/* Say which case runs: shown when something fails. Formats: %d (int32_t as int), %s. */
void test_case(const char *format, ...);
/* A line of output. */
void test_say(const char *format, ...);
/* Fail: prints the case and the message, exits with 1. */
void test_fail(const char *format, ...);

#define EXPECT(condition)                                                            \
    do {                                                                             \
        if (!(condition)) {                                                          \
            test_fail("%s:%d: not true: %s", __FILE__, __LINE__, #condition);        \
        }                                                                            \
    } while (0)
#define EXPECT_EQUAL(actual, expected)                                               \
    do {                                                                             \
        const int32_t actual_ = (int32_t)(actual);                                   \
        const int32_t expected_ = (int32_t)(expected);                               \
        if (actual_ != expected_) {                                                  \
            test_fail("%s:%d: %s is %d, not %d", __FILE__, __LINE__, #actual,        \
                      (int)actual_, (int)expected_);                                 \
        }                                                                            \
    } while (0)

/* --- Random numbers, the same in every run ------------------------------------------------ */
uint32_t test_random(void);
/* low to high, both included. */
int32_t test_between(int32_t low, int32_t high);
/* One of an array's elements. */
#define TEST_PICK(array) \
    ((array)[test_random() % (uint32_t)(sizeof(array) / sizeof((array)[0]))])

/* Bytes: random ones, or all at one limit, so that sums saturate. */
void test_fill(int8_t *data, size_t count);
/* A bias, multiplier, shift: mostly ordinary, often at a limit. */
int32_t test_any_int32(void);
int32_t test_multiplier(void);
int32_t test_shift(void);

/* --- Memory with guards before and behind it ------------------------------------------------ */

/* count bytes; alignment 1, 4 or 16. With ASan the guards may not even be read. */
void *test_memory(size_t count, size_t alignment);
/* Check all guards (failing if one was written) and give all memory back. */
void test_release(void);

/* --- The definition of rounding, word by word as in SPEC.md ------------------------------------ */
int32_t reference_wrap(int64_t x);
int32_t reference_requantize(int32_t x, int32_t multiplier, int32_t shift);
/* clamp(requantize(sum) + zero_point) */
int32_t reference_output(int64_t sum, int32_t multiplier, int32_t shift, int32_t zero_point,
                         int32_t act_min, int32_t act_max);

#endif
