/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <string.h>

typedef uint32_t __attribute__((may_alias)) word;

void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    uint8_t *out = to;
    const uint8_t *in = from;

    if (((uintptr_t)out - (uintptr_t)in) % sizeof(word) == 0) {
        for (; count > 0 && (uintptr_t)out % sizeof(word) != 0; count--) {
            *out++ = *in++;
        }
        for (; count >= 4 * sizeof(word); count -= 4 * sizeof(word)) {
            const word a = ((const word *)in)[0], b = ((const word *)in)[1];
            const word c = ((const word *)in)[2], d = ((const word *)in)[3];
            ((word *)out)[0] = a;
            ((word *)out)[1] = b;
            ((word *)out)[2] = c;
            ((word *)out)[3] = d;
            in += 4 * sizeof(word);
            out += 4 * sizeof(word);
        }
        for (; count >= sizeof(word); count -= sizeof(word)) {
            *(word *)out = *(const word *)in;
            in += sizeof(word);
            out += sizeof(word);
        }
    }
    for (; count > 0; count--) {
        *out++ = *in++;
    }
    return to;
}

void *memmove(void *to, const void *from, size_t count)
{
    uint8_t *out = to;
    const uint8_t *in = from;

    if ((uintptr_t)out - (uintptr_t)in >= count) {
        /* The output begins before the input or behind its end: forwards is safe. */
        return memcpy(to, from, count);
    }
    while (count > 0) {
        count--;
        out[count] = in[count];
    }
    return to;
}

void *memset(void *to, int value, size_t count)
{
    uint8_t *out = to;
    const word pattern = (uint8_t)value * 0x01010101u;

    for (; count > 0 && (uintptr_t)out % sizeof(word) != 0; count--) {
        *out++ = (uint8_t)value;
    }
    for (; count >= sizeof(word); count -= sizeof(word)) {
        *(word *)out = pattern;
        out += sizeof(word);
    }
    for (; count > 0; count--) {
        *out++ = (uint8_t)value;
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t count)
{
    const uint8_t *x = a;
    const uint8_t *y = b;

    for (; count > 0; count--, x++, y++) {
        if (*x != *y) {
            return *x - *y;
        }
    }
    return 0;
}
