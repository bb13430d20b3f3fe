/* SPDX-License-Identifier: Apache-2.0 */
/* Included before every source of the runtime in a build that counts what it does: basic blocks (the
 * compiler's -fsanitize-coverage=trace-pc) and the bytes of the three functions of string.h. */
#ifndef COUNTED_H
#define COUNTED_H

#include <string.h>

void *counted_memcpy(void *to, const void *from, size_t bytes);
void *counted_memmove(void *to, const void *from, size_t bytes);
void *counted_memset(void *to, int value, size_t bytes);

#define memcpy counted_memcpy
#define memmove counted_memmove
#define memset counted_memset

#endif
