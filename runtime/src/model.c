/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an opened model says of itself: memory, tensors, stages.
 */
#include "format.h"

size_t nrw_progress_bytes(const struct nrw_model *model)
{
    return nrw_is_open(model) ? model->stage_count * (size_t)NRW_PROGRESS_BYTES : 0;
}

uint32_t nrw_max_step_work(const struct nrw_model *model)
{
    return nrw_is_open(model) ? nrw_header_of(model)->max_step_work : 0;
}

size_t nrw_memory_bytes(const struct nrw_model *model)
{
    return nrw_arena_bytes(model) + nrw_progress_bytes(model);
}

size_t nrw_arena_bytes(const struct nrw_model *model)
{
    size_t bytes = 0;

    for (uint32_t i = 0; nrw_is_open(model) && i < NRW_MEMORIES; i++) {
        bytes += model->arena_bytes[i];
    }
    return bytes;
}

int nrw_tensor_info(const struct nrw_model *model, int tensor, struct nrw_tensor_info *info)
{
    if (!nrw_is_open(model) || info == NULL || tensor < 0 || tensor >= model->tensor_count) {
        return NRW_ERR_ARGUMENT;
    }
    const struct nrw_tensor *record = nrw_tensors(model) + tensor;
    info->height = record->height;
    info->width = record->width;
    info->channels = record->channels;
    info->strip = nrw_is_given(record) ? 0 : nrw_stages(model)[record->producer].strip;
    info->capacity = record->capacity;
    info->row_bytes = nrw_row_bytes(record);
    info->zero_point = record->zero_point;
    info->element_bytes = record->element_bytes;
    return NRW_OK;
}

int nrw_input_info(const struct nrw_model *model, int i, struct nrw_tensor_info *info)
{
    if (!nrw_is_open(model) || i < 0 || i >= model->input_count) {
        return NRW_ERR_ARGUMENT;
    }
    return nrw_tensor_info(model, nrw_stages(model)[i].output, info);
}

int nrw_output_info(const struct nrw_model *model, int i, struct nrw_tensor_info *info)
{
    if (!nrw_is_open(model) || i < 0 || i >= model->output_count) {
        return NRW_ERR_ARGUMENT;
    }
    return nrw_tensor_info(model, nrw_outputs(model)[i], info);
}

int nrw_output_tensor(const struct nrw_model *model, int i)
{
    if (!nrw_is_open(model) || i < 0 || i >= model->output_count) {
        return NRW_ERR_ARGUMENT;
    }
    return nrw_outputs(model)[i];
}

int nrw_stage_op(const struct nrw_model *model, int stage)
{
    if (!nrw_is_open(model) || stage < 0 || stage >= model->stage_count) {
        return NRW_ERR_ARGUMENT;
    }
    return nrw_stages(model)[stage].op;
}

int nrw_stage_form(const struct nrw_model *model, int stage)
{
    if (!nrw_is_open(model) || stage < 0 || stage >= model->stage_count) {
        return NRW_ERR_ARGUMENT;
    }
    return nrw_stages(model)[stage].form;
}

int nrw_stage_output(const struct nrw_model *model, int stage)
{
    if (!nrw_is_open(model) || stage < 0 || stage >= model->stage_count ||
        nrw_stages(model)[stage].output == NRW_NONE) {
        return -1;
    }
    return nrw_stages(model)[stage].output;
}
