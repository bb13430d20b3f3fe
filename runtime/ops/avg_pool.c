/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AVG_POOL: the mean of each window, without its padding.
 */
#include "average.h"
#include "pooling.h"

static void compute(const struct nrw_run *run, const struct nrw_stage *stage,
                    const struct nrw_firing *firing)
{
    const struct nrw_geometry *geometry = nrw_at(run->model, stage->params);
    struct nrw_average_op average = {0};

    average.channels = nrw_output_of(run->model, stage)->channels;
    average.act_min = geometry->act_min;
    average.act_max = geometry->act_max;
    nrw_average_strip(run, stage, firing, &average, geometry);
}

const struct nrw_operator nrw_operator_avg_pool = {
    .least_inputs = 1,
    .most_inputs = 1,
    .forms = 1u << NRW_SINGLE | 1u << NRW_ACCUMULATING,
    .params_bytes = sizeof(struct nrw_geometry),
    .reads = NRW_READS_GEOMETRY,
    .check = nrw_check_pool,
    .sizes = nrw_average_sizes,
    .work = nrw_pool_work,
    .compute = compute,
};
