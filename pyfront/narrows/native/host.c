/* SPDX-License-Identifier: Apache-2.0 */
#include "host.h"

#include <string.h>

#include "blob.h"
#include "platform.h"

/* As long as a call lasts, signals have to wait. */
enum { CALL_NS = 20000000 };

/* What is due: INPUT stage i is stage i, so its tensor says how far it has come. */
static int push_next(struct nrw_run *run, const int8_t *const *inputs)
{
    const int input = nrw_wanted_input(run);
    const int tensor = nrw_stage_output(run->model, input);
    struct nrw_tensor_info info;
    const int status = nrw_tensor_info(run->model, tensor, &info);
    if (status < 0) {
        return status;
    }
    memcpy(nrw_row_slot(run),
           inputs[input] + (size_t)nrw_tensor_pixels(run, tensor) * info.channels,
           nrw_due_bytes(run));
    return nrw_push_slot(run);
}

static int take_next(struct nrw_run *run, int8_t *const *outputs)
{
    const void *row;
    int output;
    int index;
    struct nrw_tensor_info info;
    int status = nrw_take_row(run, &row, &output, &index);
    if (status < 0) {
        return status;
    }
    status = nrw_output_info(run->model, output, &info);
    if (status < 0) {
        return status;
    }
    memcpy(outputs[output] + (size_t)index * info.row_bytes, row, info.row_bytes);
    return NRW_OK;
}

/* See what the last firing has given to a tensor, before anything else stands in its place. */
static void look(const struct nrw_run *run, const struct host_seen *seen)
{
    const int stage = nrw_last_stage(run);
    const int tensor = stage < 0 ? -1 : nrw_stage_output(run->model, stage);
    struct nrw_tensor_info info;
    if (tensor < 0 || nrw_tensor_info(run->model, tensor, &info) < 0) {
        return;
    }
    const size_t unit = info.channels;
    const int produced = nrw_tensor_pixels(run, tensor);
    for (int p = (int)(seen->reached[tensor] / unit); p < produced; p++) {
        const void *pixel = nrw_tensor_pixel(run, tensor, p);
        if (pixel != NULL) {
            memcpy(seen->values[tensor] + (size_t)p * unit, pixel, unit);
            memset(seen->unseen[tensor] + (size_t)p * unit, 0, unit);
            seen->reached[tensor] = (uint32_t)(((size_t)p + 1) * unit);
        }
    }
}

/* As host_infer, on the caller's stack. seen: as host_observe has it, or NULL. */
static int infer(struct nrw_run *run, uint32_t steps, const int8_t *const *inputs,
                 int8_t *const *outputs, uint64_t *stage_ns, const struct host_seen *seen)
{
    const uint64_t start = platform_now_ns();
    uint64_t before = start;
    uint32_t left = steps;
    int status = NRW_OK;
    while (status == NRW_OK) {
        if (left-- == 0) {
            if (platform_now_ns() - start > CALL_NS) {
                return NRW_OK;
            }
            left = steps - 1;
        }
        status = nrw_step(run);
        if (status == NRW_NEED_ROW) {
            status = push_next(run, inputs);
        } else if (status == NRW_HAVE_ROW) {
            status = take_next(run, outputs);
        }
        if (seen != NULL && status >= 0) {
            look(run, seen);
        }
        if (stage_ns != NULL && status == NRW_OK) {
            const uint64_t after = platform_now_ns();
            const int stage = nrw_last_stage(run);
            if (stage >= 0) {
                stage_ns[stage] += after - before;
            }
            before = after;
        }
    }
    if (status != NRW_DONE) {
        return status;
    }
    for (int i = 0; i < run->model->output_count; i++) {
        struct nrw_tensor_info info;
        const void *whole = nrw_output(run, i);
        if (whole != NULL && nrw_output_info(run->model, i, &info) == NRW_OK) {
            memcpy(outputs[i], whole, (size_t)info.height * info.row_bytes);
        }
    }
    return NRW_DONE;
}

struct call {
    struct nrw_run *run;
    uint32_t steps;
    const int8_t *const *inputs;
    int8_t *const *outputs;
    uint64_t *stage_ns;
    const uint8_t *frame;     /* where the stack of the inference begins */
    int status;
};

static void painted_main(void *argument)
{
    struct call *call = argument;
    const uint8_t here = 0;
    call->frame = &here;
    call->status = infer(call->run, call->steps, call->inputs, call->outputs, call->stage_ns,
                         NULL);
}

int host_infer(struct nrw_run *run, uint32_t steps, const int8_t *const *inputs,
               int8_t *const *outputs, uint64_t *stage_ns, uint32_t *stack_bytes)
{
    struct call call = {run, steps, inputs, outputs, stage_ns, NULL, NRW_ERR_MEMORY};
    if (stack_bytes == NULL) {
        return infer(run, steps, inputs, outputs, stage_ns, NULL);
    }
    *stack_bytes = platform_on_painted_stack(painted_main, &call, &call.frame);
    return call.status;
}

int host_observe(struct nrw_run *run, uint32_t steps, const int8_t *const *inputs,
                 int8_t *const *outputs, const struct host_seen *seen)
{
    return infer(run, steps, inputs, outputs, NULL, seen);
}

int host_max_step_work(const void *blob, size_t size, uint32_t *work, uint32_t *error_at)
{
    struct nrw_model model = {0};
    struct nrw_total total = {0};
    const int status = nrw_check(&model, blob, size, &total);
    *work = total.max_step_work;
    *error_at = model.error_at;
    return status;
}

uint64_t host_stage_macs(const struct nrw_model *model, int stage)
{
    return nrw_work_of(model, &nrw_stages(model)[stage]).macs;
}

size_t host_sizeof_model(void)
{
    return sizeof(struct nrw_model);
}

size_t host_sizeof_run(void)
{
    return sizeof(struct nrw_run);
}

size_t host_sizeof_tensor_info(void)
{
    return sizeof(struct nrw_tensor_info);
}
