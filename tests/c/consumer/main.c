/* SPDX-License-Identifier: Apache-2.0 */
/* Ends with 0 if the runtime is linked and answers. */
#include "narrows.h"

int main(void)
{
    static const uint32_t words[20]; /* 4-aligned for certain, no blob for certain */
    struct nrw_model model;

    return nrw_open(&model, (const uint8_t *)words + 1, sizeof words - 1) == NRW_ERR_ALIGNMENT
               ? 0
               : 1;
}
