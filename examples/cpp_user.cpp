// SPDX-License-Identifier: Apache-2.0
#include "digits_net.h"
#include "network.hpp"

// Your camera: int8 elements of the model.
void read_pixels(int8_t *to, uint32_t bytes);
// The digit, or a negative enum nrw_status.
int classify();

int classify()
{
    static Network<DIGITS_NET_MEMORY_BYTES> network(digits_net, DIGITS_NET_BYTES);
    const int8_t *const scores = network.run(read_pixels);

    if (scores == nullptr) {
        return network.status();
    }
    int best = 0;
    for (int i = 1; i < 10; i++) {
        best = scores[i] > scores[best] ? i : best;
    }
    return best;
}
