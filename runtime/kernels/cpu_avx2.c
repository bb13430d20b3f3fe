/* SPDX-License-Identifier: Apache-2.0 */
#include <cpuid.h>

#include "avx2.h"

/* Whether the operating system keeps the upper halves of the vector registers: bits 1 and 2 of the
 * extended control register 0. */
static __attribute__((target("xsave"))) int keeps_vectors(void)
{
    return (_xgetbv(0) & 6u) == 6u;
}

static int ask(void)
{
    unsigned a, b, c, d;

    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & bit_OSXSAVE) == 0 || !keeps_vectors()) {
        return 0;
    }
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX2) != 0;
}

int nrw_has_avx2(void)
{
    /* 0: not asked yet; else 1 and the answer. Threads may ask at once: the answer is the same. */
    static int known;
    int answer = __atomic_load_n(&known, __ATOMIC_RELAXED);

    if (answer == 0) {
        answer = 1 + ask();
        __atomic_store_n(&known, answer, __ATOMIC_RELAXED);
    }
    return answer - 1;
}
