/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MAX_POOL: the largest element of each window.
 */
#include "../src/stage.h"
#include "pooling.h"

static void compute(const struct nrw_run *run, const struct nrw_stage *stage,
                    const struct nrw_firing *firing)
{
    const struct nrw_geometry *geometry = nrw_at(run->model, stage->params);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    const int8_t *rows[NRW_MAX_KERNEL_H];
    struct nrw_window window;

    nrw_gather(&window, run, stage, geometry, firing->y0, firing->x0, firing->x1, rows);
    nrw_max_pool(out->channels, geometry->act_min, geometry->act_max, &window, firing->x0,
                 firing->x1, nrw_strip_out(run, stage, firing), out->channels);
}

const struct nrw_operator nrw_operator_max_pool = {
    .least_inputs = 1,
    .most_inputs = 1,
    .forms = 1u << NRW_SINGLE,
    .params_bytes = sizeof(struct nrw_geometry),
    .reads = NRW_READS_GEOMETRY,
    .check = nrw_check_pool,
    .work = nrw_pool_work,
    .compute = compute,
};
