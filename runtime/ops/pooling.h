/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NARROWS_POOLING_H
#define NARROWS_POOLING_H

#include "operator.h"

/* What AVG_POOL and MAX_POOL ask of their windows: each holds an element of the input. */
NRW_COLD int nrw_check_pool(struct nrw_model *model, const struct nrw_stage *stage);

NRW_COLD struct nrw_work nrw_pool_work(const struct nrw_model *model, const struct nrw_stage *stage);

#endif
