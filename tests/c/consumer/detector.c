/* SPDX-License-Identifier: Apache-2.0 */
/* Ends with 0 if what finds boxes is linked and answers. */
#include "narrows_detection.h"

int main(void)
{
    static const struct nrw_detection settings;

    return nrw_detect(&settings, NULL, 0, NULL, NULL, 0, NULL, 0) == NRW_ERR_ARGUMENT ? 0 : 1;
}
