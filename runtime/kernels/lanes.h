/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NARROWS_KERNELS_LANES_H
#define NARROWS_KERNELS_LANES_H

#include <stdint.h>

/* Channels, or elements, that a host's kernels compute together. */
enum { NRW_LANES = 8 };

/* The place of the next eight of `count` channels, 8 or more, of which all before c are done: the
 * last overlap with those before. */
static inline uint32_t nrw_lanes_at(uint32_t c, uint32_t count)
{
    return count - c < NRW_LANES ? count - NRW_LANES : c;
}

#endif
