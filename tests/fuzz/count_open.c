/* SPDX-License-Identifier: Apache-2.0 */
/* count_open BLOB...: prints of each what nrw_open does, in the unit of tests/fuzz/counted.h. Ends with
 * 0 if all are opened. */
#include "hostile.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        struct nrw_model model;
        size_t size;
        uint8_t *blob = hostile_read(argv[i], &size);
        hostile_done = 0;
        REQUIRE(nrw_open(&model, blob, size) == NRW_OK);
        printf("%llu\n", (unsigned long long)hostile_done);
        free(blob);
    }
    return 0;
}
