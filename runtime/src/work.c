/* SPDX-License-Identifier: Apache-2.0 */
#include "work.h"

#include "firing.h"

/* Tensors have less than 2^28 pixels, and less than 2^31 weights stand in a blob, so no product
 * here or in an operator's work() overflows. */
struct nrw_work nrw_work_of(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_operator *op = nrw_operator_of(stage);
    struct nrw_work work = {0, (uint64_t)stage->strip * nrw_frame(model, stage)->channels, 1};

    if (op->work != NULL) {
        work = op->work(model, stage);
    }
    if (NRW_UNEVEN && stage->op != NRW_OP_OUTPUT && !nrw_is_even(model, stage)) {
        work.copies *= 2;
    }
    work.step += work.copies * nrw_copied_bytes(model, stage);
    return work;
}
