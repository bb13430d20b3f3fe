/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "test.h"

void platform_print(const char *text)
{
    fputs(text, stdout);
    fflush(stdout);
}

void platform_exit(int code)
{
    exit(code);
}
