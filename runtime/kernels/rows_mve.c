/* SPDX-License-Identifier: Apache-2.0 */
#include <arm_mve.h>

#include "dot_mve.h"

/* A channel's shift is the lowest byte of its last word. Each instruction goes through four
 * channels. */
int32_t nrw_most_shift(const struct nrw_channel *channels, uint32_t count)
{
    const uint32_t step = (uint32_t)sizeof *channels;
    const uint32_t before = (uint32_t)(uintptr_t)&channels->shift - 4 * step;
    uint32x4_t places = vaddq_n_u32(vmulq_n_u32(vidupq_n_u32(0, 1), step), before);
    int32x4_t most = vdupq_n_s32(INT32_MIN);

    __asm__ volatile("wlstp.32 lr, %2, 2f\n"
                     "1:\n"
                     "vldrw.u32 q0, [%q0, #48]!\n"
                     "vshl.i32 q0, q0, #24\n"
                     "vmax.s32 %q1, %q1, q0\n"
                     "letp lr, 1b\n"
                     "2:\n"
                     : "+w"(places), "+w"(most)
                     : "r"(count)
                     : "lr", "q0", "memory");
    return vmaxvq_s32(INT32_MIN, most) >> 24;
}
