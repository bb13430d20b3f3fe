/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _WIN32
#define _POSIX_C_SOURCE 200112L /* clock_gettime, pthread_attr_setstack */
#endif
#include "platform.h"

enum { STACK_BYTES = 1 << 18, PAINT = 0xC5 };

struct call {
    void (*function)(void *argument);
    void *argument;
    const uint8_t *const *frame;
    uint32_t used;
};

/* The bytes from the first one that is not painted, at `low` or above, up to the call's frame. */
static uint32_t used_above(const uint8_t *low, const struct call *call)
{
    while (*low == PAINT) {
        low++;
    }
    return (uint32_t)(*call->frame - low);
}

#ifdef _WIN32

#include <windows.h>

uint64_t platform_now_ns(void)
{
    LARGE_INTEGER count, rate;

    QueryPerformanceCounter(&count);
    QueryPerformanceFrequency(&rate);
    const uint64_t ticks = (uint64_t)count.QuadPart, per_second = (uint64_t)rate.QuadPart;
    return ticks / per_second * 1000000000u + ticks % per_second * 1000000000u / per_second;
}

/* Windows gives a thread its stack, so the thread paints that from its own frame downwards. Each page
 * is touched before the one below it, as the system expects; the lowest pages are the system's. */
static DWORD WINAPI painted_main(void *argument)
{
    enum { GAP = 256, SYSTEM_BYTES = 1 << 15 };
    struct call *call = argument;
    ULONG_PTR lowest, end;

    GetCurrentThreadStackLimits(&lowest, &end);
    volatile uint8_t *const low = (volatile uint8_t *)(lowest + SYSTEM_BYTES);
    /* `low` is volatile, so that the loop stays one and no function's frame is painted. */
    for (volatile uint8_t *at = (volatile uint8_t *)&call - GAP; at >= low; at--) {
        *at = PAINT;
    }
    call->function(call->argument);
    call->used = used_above((const uint8_t *)low, call);
    return 0;
}

uint32_t platform_on_painted_stack(void (*function)(void *argument), void *argument,
                                   const uint8_t *const *frame)
{
    struct call call = {function, argument, frame, 0};
    const HANDLE thread = CreateThread(NULL, STACK_BYTES, painted_main, &call,
                                       STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);

    if (thread != NULL) {
        WaitForSingleObject(thread, INFINITE);
        CloseHandle(thread);
    }
    return call.used;
}

#else

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t platform_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *thread_main(void *argument)
{
    struct call *call = argument;

    call->function(call->argument);
    return NULL;
}

uint32_t platform_on_painted_stack(void (*function)(void *argument), void *argument,
                                   const uint8_t *const *frame)
{
    /* macOS wants whole pages, which have 16 KiB on its Arm processors. */
    enum { STACK_ALIGNMENT = 1 << 14 };
    struct call call = {function, argument, frame, 0};
    pthread_attr_t attributes;
    pthread_t thread;
    void *memory;

    if (posix_memalign(&memory, STACK_ALIGNMENT, STACK_BYTES) != 0) {
        return 0;
    }
    memset(memory, PAINT, STACK_BYTES);
    if (pthread_attr_init(&attributes) == 0) {
        if (pthread_attr_setstack(&attributes, memory, STACK_BYTES) == 0 &&
            pthread_create(&thread, &attributes, thread_main, &call) == 0) {
            pthread_join(thread, NULL);
            call.used = used_above(memory, &call);
        }
        pthread_attr_destroy(&attributes);
    }
    free(memory);
    return call.used;
}

#endif
