/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of windows, side by side, with Helium.
 */
#ifndef NARROWS_COPY_MVE_H
#define NARROWS_COPY_MVE_H

#include "window.h"

static inline int8_t *nrw_copy(int8_t *to, const int8_t *from, uint32_t count)
{
    int8_t *const end = to + count;

    __asm__ volatile("wlstp.8 lr, %2, 2f\n"
                     "1:\n"
                     "vldrb.8 q0, [%1], #16\n"
                     "vstrb.8 q0, [%0], #16\n"
                     "letp lr, 1b\n"
                     "2:\n"
                     : "+r"(to), "+r"(from)
                     : "r"(count)
                     : "lr", "q0", "memory");
    return end;
}

static inline int8_t *nrw_fill(int8_t *to, int32_t value, uint32_t count)
{
    int8_t *const end = to + count;

    __asm__ volatile("vdup.8 q0, %2\n"
                     "wlstp.8 lr, %1, 2f\n"
                     "1:\n"
                     "vstrb.8 q0, [%0], #16\n"
                     "letp lr, 1b\n"
                     "2:\n"
                     : "+r"(to)
                     : "r"(count), "r"(value)
                     : "lr", "q0", "memory");
    return end;
}

/* Copies `bytes` of each of the window's rows, from `column` bytes behind where they point to. */
static inline void nrw_copy_rows(int8_t *to, const struct nrw_window *window, ptrdiff_t column,
                                 uint32_t bytes)
{
    const int8_t *const *rows = window->rows;
    uint32_t left = window->kernel_h;
    const int8_t *from;
    int8_t *at;

    __asm__ volatile("1:\n"
                     "ldr %3, [%1], #4\n"
                     "mov %4, %0\n"
                     "add %3, %5\n"
                     "dlstp.8 lr, %6\n"
                     "2:\n"
                     "vldrb.8 q0, [%3], #16\n"
                     "vstrb.8 q0, [%4], #16\n"
                     "letp lr, 2b\n"
                     "add %0, %6\n"
                     "subs %2, #1\n"
                     "bne 1b\n"
                     : "+r"(to), "+r"(rows), "+r"(left), "=&r"(from), "=&r"(at)
                     : "r"(column), "r"(bytes)
                     : "lr", "q0", "cc", "memory");
}

/* 16 bytes of a row of each of two windows. */
#define NRW_COPY_CHUNK(T, AT)              \
    "vldrb" T ".8 q0, [%3, #" AT "]\n"     \
    "vldrb" T ".8 q1, [%4, #" AT "]\n"     \
    "vstrb" T ".8 q0, [%0, #" AT "]\n"     \
    "vstrb" T ".8 q1, [%1, #" AT "]\n"

/* Rows of whole chunks and, at LAST, one that may be a part. GCC has no name for the predicate
 * register, so the functions that this becomes a part of must not use predicates themselves. The
 * loop counts where it ends, in LR: without optimization GCC has no register for another count. */
#define NRW_COPY_TWO(WHOLE, LAST)                                                            \
    __asm__ volatile("vctp.8 %3\n"                                                           \
                     "dls lr, lr\n"                                                          \
                     "1:\n"                                                                  \
                     "ldr %3, [%2], #4\n"                                                    \
                     "add %3, %6\n"                                                          \
                     "add %4, %3, %7\n"                                                      \
                     WHOLE                                                                   \
                     "vpstttt\n"                                                             \
                     NRW_COPY_CHUNK("t", LAST)                                               \
                     "add %0, %8\n"                                                          \
                     "add %1, %8\n"                                                          \
                     "le lr, 1b\n"                                                           \
                     : "+r"(first), "+r"(second), "+r"(rows), "+r"(last), "=&r"(from_second), \
                       "+r"(count)                                                           \
                     : "r"(column), "r"(step), "r"(bytes)                                    \
                     : "q0", "q1", "memory")

/* As nrw_copy_rows, of two windows at once; the second one's rows begin `step` bytes behind the
 * first's. */
static inline void nrw_copy_rows_of_two(int8_t *first, int8_t *second,
                                        const struct nrw_window *window, ptrdiff_t column,
                                        uint32_t step, uint32_t bytes)
{
    const int8_t *const *rows = window->rows;
    register uint32_t count __asm__("lr") = window->kernel_h;
    uint32_t last = bytes - (bytes - 1) / 16 * 16;
    const int8_t *from_second;

    if (bytes <= 16) {
        NRW_COPY_TWO("", "0");
    } else if (bytes <= 32) {
        NRW_COPY_TWO(NRW_COPY_CHUNK("", "0"), "16");
    } else if (bytes <= 48) {
        NRW_COPY_TWO(NRW_COPY_CHUNK("", "0") NRW_COPY_CHUNK("", "16"), "32");
    } else {
        nrw_copy_rows(first, window, column, bytes);
        nrw_copy_rows(second, window, column + (ptrdiff_t)step, bytes);
    }
}

/* Copies the window of column x, padding included, to `to`. */
static inline void nrw_copy_window(const struct nrw_window *window, uint32_t channels,
                                   int32_t zero_point, int32_t x, int8_t *to)
{
    const struct nrw_taps taps = nrw_taps_inside(window, x);
    const int dense = window->dilation_w == 1 && window->pixel_stride == channels;
    const uint32_t inside = (uint32_t)(taps.end - taps.first) * channels;
    const uint32_t part = dense ? inside : channels;
    const uint32_t whole = window->kernel_w * channels;
    const size_t step = window->dilation_w * (size_t)window->pixel_stride;
    const int8_t *const *rows = window->rows;
    const ptrdiff_t column = (taps.column - window->origin) * (ptrdiff_t)window->pixel_stride;

    if (inside < whole) {
        (void)nrw_fill(to, zero_point, window->kernel_h * whole);
    }
    for (uint32_t i = window->kernel_h; i > 0; i--, to += whole) {
        const int8_t *in = *rows++;

        if (!in) {
            (void)nrw_fill(to, zero_point, whole);
        } else if (inside > 0) {
            int8_t *at = to + (uint32_t)taps.first * channels;
            int8_t *const end = at + inside;

            for (in += column; at < end; in += step) {
                at = nrw_copy(at, in, part);
            }
        }
    }
}

#endif
