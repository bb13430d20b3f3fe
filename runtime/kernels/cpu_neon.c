/* SPDX-License-Identifier: Apache-2.0 */
#include "neon.h"

#ifndef __ARM_FEATURE_DOTPROD
#ifdef __linux__
#include <sys/auxv.h>

/* A feature of the processor; older headers do not have its name. */
#define ASIMDDP (1ul << 20)

int nrw_has_dot(void)
{
    return (getauxval(AT_HWCAP) & ASIMDDP) != 0;
}
#else
/* Other systems do not say; on those where all processors have them, compilers take them for
 * granted. */
int nrw_has_dot(void)
{
    return 0;
}
#endif
#endif
