/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much the stages of a blob compute (SPEC.md, Work).
 */
#ifndef NARROWS_WORK_H
#define NARROWS_WORK_H

#include "../ops/operator.h"

/* What the header says of the whole blob. */
struct nrw_total {
    uint64_t macs, firings;
    uint32_t max_step_work;
};

/* The work of a stage that is right but for its work and fires at most 65535 times; its step counts
 * the copies of wrapped rows. */
NRW_COLD struct nrw_work nrw_work_of(const struct nrw_model *model, const struct nrw_stage *stage);

/* The engine's own part of a step: it looks at every stage for the next that can fire, and, once for
 * each of up to four inputs, at the readers of the tensors that the firing reads and writes. */
static inline uint32_t nrw_bookkeeping(const struct nrw_model *model)
{
    return model->stage_count + 4u * model->reader_count;
}

#endif
