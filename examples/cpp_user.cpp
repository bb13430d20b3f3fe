// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "digits_net.h"
#include "network.hpp"

// Your camera: int8 elements of the model.
void read_pixels(std::int8_t *to, std::uint32_t bytes);
// The digit, or a negative enum nrw_status.
int classify();

int classify()
{
    static Network<DIGITS_NET_MEMORY_BYTES> network(digits_net, DIGITS_NET_BYTES);
    const std::int8_t *const scores = network.run(read_pixels);

    if (scores == nullptr) {
        return network.status();
    }
    return static_cast<int>(std::max_element(scores, scores + 10) - scores);
}
