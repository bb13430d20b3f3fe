/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All that the runtime and the compiler want from a C library.
 */
#ifndef NARROWS_STRING_H
#define NARROWS_STRING_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t count);
void *memmove(void *to, const void *from, size_t count);
void *memset(void *to, int value, size_t count);
int memcmp(const void *a, const void *b, size_t count);

#endif
