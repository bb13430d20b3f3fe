/* SPDX-License-Identifier: Apache-2.0 */
/*
 * INPUT: the caller gives the next strip of a tensor.
 */
#include "operator.h"

const struct nrw_operator nrw_operator_input = {
    .forms = 1u << NRW_SINGLE,
    .reads = NRW_READS_OTHERWISE,
};
