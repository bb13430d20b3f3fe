/* SPDX-License-Identifier: Apache-2.0 */
#include "hostile.h"

#include <string.h>

void __sanitizer_cov_trace_pc(void);
void *counted_memcpy(void *to, const void *from, size_t bytes);
void *counted_memmove(void *to, const void *from, size_t bytes);
void *counted_memset(void *to, int value, size_t bytes);

/* Called from every basic block of the runtime. */
void __sanitizer_cov_trace_pc(void)
{
    hostile_done++;
}

void *counted_memcpy(void *to, const void *from, size_t bytes)
{
    hostile_done += bytes;
    return memcpy(to, from, bytes);
}

void *counted_memmove(void *to, const void *from, size_t bytes)
{
    hostile_done += bytes;
    return memmove(to, from, bytes);
}

void *counted_memset(void *to, int value, size_t bytes)
{
    hostile_done += bytes;
    return memset(to, value, bytes);
}
