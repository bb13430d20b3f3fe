/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <stdarg.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define TEST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TEST_ASAN 1
#endif
#endif

#ifdef TEST_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(address, size) __asan_poison_memory_region(address, size)
#define UNPOISON(address, size) __asan_unpoison_memory_region(address, size)
#else
#define POISON(address, size) ((void)0)
#define UNPOISON(address, size) ((void)0)
#endif

/* --- Printing ----------------------------------------------------------------------------- */

enum { LINE = 400 };

static char current_case[LINE];

static void format_line(char line[LINE], const char *format, va_list arguments)
{
    size_t used = 0;

    for (; *format && used < LINE - 13; format++) {
        if (format[0] == '%' && format[1] == 's') {
            const char *text = va_arg(arguments, const char *);

            while (*text && used < LINE - 13) {
                line[used++] = *text++;
            }
            format++;
        } else if (format[0] == '%' && format[1] == 'd') {
            const int value = va_arg(arguments, int);
            uint32_t magnitude = value < 0 ? 0u - (uint32_t)value : (uint32_t)value;
            char digits[10];
            size_t count = 0;

            if (value < 0) {
                line[used++] = '-';
            }
            do {
                digits[count++] = (char)('0' + magnitude % 10);
                magnitude /= 10;
            } while (magnitude);
            while (count > 0) {
                line[used++] = digits[--count];
            }
            format++;
        } else {
            line[used++] = *format;
        }
    }
    line[used] = '\0';
}

void test_case(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    format_line(current_case, format, arguments);
    va_end(arguments);
}

void test_say(const char *format, ...)
{
    char line[LINE];
    va_list arguments;

    va_start(arguments, format);
    format_line(line, format, arguments);
    va_end(arguments);
    platform_print(line);
    platform_print("\n");
}

void test_fail(const char *format, ...)
{
    char line[LINE];
    va_list arguments;

    va_start(arguments, format);
    format_line(line, format, arguments);
    va_end(arguments);
    platform_print("FAILED: ");
    platform_print(line);
    platform_print("\n  in case: ");
    platform_print(current_case);
    platform_print("\n");
    platform_exit(1);
}

/* --- Random numbers: xorshift ------------------------------------------------------------- */

uint32_t test_random(void)
{
    static uint32_t state = 2463534242u;

    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

int32_t test_between(int32_t low, int32_t high)
{
    return low + (int32_t)(test_random() % (uint32_t)(high - low + 1));
}

void test_fill(int8_t *data, size_t count)
{
    const int32_t kind = test_between(0, 5);

    for (size_t i = 0; i < count; i++) {
        data[i] = (int8_t)(kind == 0 ? -128 : kind == 1 ? 127 : test_between(-128, 127));
    }
}

int32_t test_any_int32(void)
{
    static const int32_t limits[] = {INT32_MIN, INT32_MIN + 1, -1, 0, 1, INT32_MAX - 1, INT32_MAX};

    switch (test_between(0, 3)) {
    case 0:
        return TEST_PICK(limits);
    case 1:
        return (int32_t)test_random();
    default:
        return test_between(-20000, 20000);
    }
}

int32_t test_multiplier(void)
{
    static const int32_t limits[] = {0, 1, 1 << 30, (1 << 30) + 1, INT32_MAX - 1, INT32_MAX};

    return test_between(0, 3) ? test_between(1 << 30, INT32_MAX) : TEST_PICK(limits);
}

int32_t test_shift(void)
{
    static const int32_t limits[] = {-31, -30, -1, 0, 1, 29, 30};

    return test_between(0, 3) ? test_between(-12, 1) : TEST_PICK(limits);
}

/* --- Memory --------------------------------------------------------------------------------- */

enum { GUARD = 48, GUARD_BYTE = 0xA5, POOL = 400 * 1024, BLOCKS = 64 };

/* uint64_t for the alignment. */
static uint64_t pool_words[POOL / 8];
static size_t pool_used;
static struct {
    size_t start, end;
} blocks[BLOCKS];
static size_t block_count;

void *test_memory(size_t count, size_t alignment)
{
    uint8_t *const pool = (uint8_t *)pool_words;
    size_t start = pool_used + GUARD;
    size_t end;

    start += (alignment - (size_t)((uintptr_t)(pool + start) % alignment)) % alignment;
    if (alignment == 1) {
        start |= 1; /* as unaligned as can be */
    }
    end = start + count;
    if (end + GUARD > POOL || block_count == BLOCKS) {
        test_fail("the test needs more memory than the harness has");
    }
    UNPOISON(pool + pool_used, end + GUARD - pool_used);
    memset(pool + pool_used, GUARD_BYTE, end + GUARD - pool_used);
    POISON(pool + pool_used, start - pool_used);
    POISON(pool + end, GUARD);
    blocks[block_count].start = start;
    blocks[block_count].end = end;
    block_count++;
    pool_used = end;
    return pool + start;
}

void test_release(void)
{
    const uint8_t *const pool = (const uint8_t *)pool_words;
    size_t at = 0;

    UNPOISON(pool_words, POOL);
    for (size_t b = 0; b <= block_count && block_count > 0; b++) {
        const size_t end = b < block_count ? blocks[b].start : pool_used + GUARD;

        for (; at < end; at++) {
            if (pool[at] != GUARD_BYTE) {
                test_fail("a guard byte was written, memory %d of this case", (int)b);
            }
        }
        if (b < block_count) {
            at = blocks[b].end;
        }
    }
    block_count = 0;
    pool_used = 0;
}

/* --- Reference ------------------------------------------------------------------------------- */

int32_t reference_wrap(int64_t x)
{
    const int64_t modulus = INT64_C(1) << 32;
    const int64_t rest = ((x % modulus) + modulus) % modulus;

    return (int32_t)(rest >= modulus / 2 ? rest - modulus : rest);
}

int32_t reference_requantize(int32_t x, int32_t multiplier, int32_t shift)
{
    const int64_t two_31 = INT64_C(1) << 31;
    const int32_t left = shift > 0 ? shift : 0;
    const int32_t right = shift < 0 ? -shift : 0;
    const int64_t power = INT64_C(1) << right;
    const int64_t product = (int64_t)reference_wrap((int64_t)x * (INT64_C(1) << left)) * multiplier;
    const int64_t nudge = product >= 0 ? INT64_C(1) << 30 : 1 - (INT64_C(1) << 30);
    const int64_t high = (product + nudge) / two_31;
    const int64_t magnitude = high < 0 ? -high : high;
    const int64_t rounded = (2 * magnitude + power) / (2 * power);

    return (int32_t)(high < 0 ? -rounded : rounded);
}

int32_t reference_output(int64_t sum, int32_t multiplier, int32_t shift, int32_t zero_point,
                         int32_t act_min, int32_t act_max)
{
    const int32_t value = reference_wrap(
        (int64_t)reference_requantize(reference_wrap(sum), multiplier, shift) + zero_point);

    return value < act_min ? act_min : value > act_max ? act_max : value;
}
