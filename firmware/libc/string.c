/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <string.h>

typedef uint32_t __attribute__((may_alias)) word;
enum { BLOCK = 8 * sizeof(word) };

/* Loops over whole blocks are fast; a build that is to be small goes word by word instead. */
#ifdef __OPTIMIZE_SIZE__
enum { BY_BLOCKS = 0 };
#else
enum { BY_BLOCKS = 1 };
#endif

/* Upwards, a block at a time: right where the output begins before the input too, as what is read
 * is read before anything is written there. So neither pointer may be restrict. */
static void copy_upwards(uint8_t *out, const uint8_t *in, size_t count)
{
#ifdef __ARM_FEATURE_MVE
    __asm__ volatile("wlstp.8 lr, %2, 2f\n"
                     "1:\n"
                     "vldrb.8 q0, [%1], #16\n"
                     "vstrb.8 q0, [%0], #16\n"
                     "letp lr, 1b\n"
                     "2:\n"
                     : "+r"(out), "+r"(in)
                     : "r"(count)
                     : "lr", "q0", "memory");
#else
    if (((uintptr_t)out - (uintptr_t)in) % sizeof(word) == 0) {
        for (; count > 0 && (uintptr_t)out % sizeof(word) != 0; count--) {
            *out++ = *in++;
        }
        for (; BY_BLOCKS && count >= BLOCK; count -= BLOCK, in += BLOCK, out += BLOCK) {
            const word a = ((const word *)in)[0], b = ((const word *)in)[1];
            const word c = ((const word *)in)[2], d = ((const word *)in)[3];
            const word e = ((const word *)in)[4], f = ((const word *)in)[5];
            const word g = ((const word *)in)[6], h = ((const word *)in)[7];
            ((word *)out)[0] = a;
            ((word *)out)[1] = b;
            ((word *)out)[2] = c;
            ((word *)out)[3] = d;
            ((word *)out)[4] = e;
            ((word *)out)[5] = f;
            ((word *)out)[6] = g;
            ((word *)out)[7] = h;
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
#endif
}

void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    copy_upwards(to, from, count);
    return to;
}

void *memmove(void *to, const void *from, size_t count)
{
    uint8_t *out = to;
    const uint8_t *in = from;

    if ((uintptr_t)out - (uintptr_t)in >= count) {
        /* The output begins before the input or behind its end: forwards is safe. */
        copy_upwards(out, in, count);
        return to;
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
    for (; BY_BLOCKS && count >= BLOCK; count -= BLOCK, out += BLOCK) {
        for (size_t i = 0; i < BLOCK / sizeof(word); i++) {
            ((word *)out)[i] = pattern;
        }
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
