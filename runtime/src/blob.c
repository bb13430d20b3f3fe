/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All reading of untrusted bytes. nrw_open proves every claim of SPEC.md's reject rules;
 * after it nothing is checked again. Ranges are checked by subtraction, so nothing here
 * overflows, and every multiplication is of factors whose bounds stand beside it.
 */
#include "blob.h"

#include "../kernels/kernels.h"
#include "check.h"
#include "crc32.h"
#include "firing.h"

#define MAX_BYTES 0x7FFFFFF0u        /* of the blob: offsets fit an int32_t */
#define MAX_MEMORY_BYTES 0x0FFFFFF0u /* of a memory of the arena, and below it of a ring */

/* --- Header and tensors ------------------------------------------------------------------ */

NRW_COLD static int check_header(struct nrw_model *model, size_t size)
{
    const struct nrw_header *header = nrw_header_of(model);

    if (size < sizeof *header) {
        return NRW_ERR_TRUNCATED;
    }
    if (header->magic != NRW_MAGIC) {
        return NRW_ERR_MAGIC;
    }
    if (header->major != NRW_MAJOR) {
        model->error_at = 4;
        return NRW_ERR_VERSION;
    }
    if (nrw_crc32(model->blob, sizeof *header - 4) != header->header_crc) {
        model->error_at = sizeof *header - 4;
        return NRW_ERR_CRC;
    }
    if (header->blob_bytes > size) {
        model->error_at = 8;
        return NRW_ERR_TRUNCATED;
    }
    model->kernels = nrw_kernels_of(header->layout);
    if (model->kernels == NULL) {
        model->error_at = 12;
        return NRW_ERR_LAYOUT;
    }
    REQUIRE(header->blob_bytes % 16 == 0 && header->blob_bytes <= MAX_BYTES, header->blob_bytes);
    for (uint32_t i = 0; i < NRW_MEMORIES; i++) {
        REQUIRE(header->arena_bytes[i] % 16 == 0 && header->arena_bytes[i] <= MAX_MEMORY_BYTES,
                header->arena_bytes[i]);
        model->arena_bytes[i] = header->arena_bytes[i];
    }
    REQUIRE(header->tensor_count > 0, header->tensor_count);
    REQUIRE(header->stage_count > 0 && header->stage_count < NRW_NONE, header->stage_count);
    REQUIRE(header->output_count > 0, header->output_count);
    REQUIRE(header->input_count > 0 && header->input_count <= header->stage_count,
            header->input_count);
    REQUIRE(header->input_passes == 1, header->input_passes);

    const uint32_t lists = header->tensor_count * (uint32_t)sizeof(struct nrw_tensor) +
                           header->stage_count * (uint32_t)sizeof(struct nrw_stage) +
                           2u * header->reader_count + 2u * header->output_count;
    REQUIRE(lists <= header->blob_bytes - sizeof *header, header->blob_bytes);

    model->blob_bytes = header->blob_bytes;
    model->tensor_count = header->tensor_count;
    model->stage_count = header->stage_count;
    model->reader_count = header->reader_count;
    model->input_count = header->input_count;
    model->output_count = header->output_count;

    REQUIRE(header->metadata_bytes == 0
                ? header->metadata_offset == 0
                : nrw_in_body(model, header->metadata_offset, header->metadata_bytes, 1),
            header->metadata_offset);
    return NRW_OK;
}

/* This firmware was built for models without something that the blob has; `at` says so. */
NRW_COLD static int lacks(struct nrw_model *model, const uint8_t *at)
{
    model->error_at = (uint32_t)(at - model->blob);
    return NRW_ERR_OPERATOR;
}

NRW_COLD static int check_tensors(struct nrw_model *model)
{
    const struct nrw_stage *stages = nrw_stages(model);
    uint32_t readers = 0;

    for (uint32_t i = 0; i < model->tensor_count; i++) {
        const struct nrw_tensor *tensor = nrw_tensors(model) + i;

        if (!NRW_VARIABLES && tensor->flags == NRW_PERSISTENT) {
            return lacks(model, &tensor->flags);
        }
        REQUIRE(tensor->flags <= NRW_PERSISTENT, tensor->flags);
        REQUIRE(tensor->element_bytes == 1, tensor->element_bytes);
        REQUIRE(tensor->height > 0, tensor->height);
        REQUIRE(tensor->width > 0, tensor->width);
        REQUIRE(tensor->channels > 0, tensor->channels);
        REQUIRE(tensor->reserved == 0, tensor->reserved);
        REQUIRE(nrw_pixels(tensor) < 1u << 28, tensor->height);
        REQUIRE(tensor->capacity > 0 && tensor->capacity <= nrw_pixels(tensor),
                tensor->capacity);
        const uint64_t bytes = (uint64_t)tensor->capacity * nrw_pixel_bytes(tensor);
        REQUIRE(bytes < 1u << 28, tensor->capacity);
        REQUIRE(!nrw_is_given(tensor) || nrw_is_whole(tensor), tensor->capacity);
        REQUIRE(nrw_is_given(tensor) ? tensor->producer == NRW_NONE
                                     : tensor->producer < model->stage_count &&
                                           stages[tensor->producer].output == i,
                tensor->producer);
        REQUIRE(tensor->flags == NRW_CONSTANT ? nrw_in_body(model, tensor->offset, bytes, 16)
                                              : nrw_in_arena(model, tensor->offset, bytes),
                tensor->offset);
        REQUIRE(tensor->first_reader == readers, tensor->first_reader);
        REQUIRE(tensor->reader_count <= model->reader_count - readers, tensor->reader_count);
        readers += tensor->reader_count;
    }
    return NRW_OK;
}

/* --- Stages -------------------------------------------------------------------------------- */

/* State and scratch are as large as the operator says, and stand in the arena. */
NRW_COLD static int check_extents(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_operator *op = nrw_operator_of(stage);
    struct nrw_sizes sizes = {0, 0};

    if (op->sizes != NULL) {
        sizes = op->sizes(model, stage);
    }
    const uint64_t scratch = sizes.scratch + nrw_copied_bytes(model, stage);
    REQUIRE(stage->state_bytes == sizes.state, stage->state_bytes);
    REQUIRE(nrw_in_arena(model, stage->state_offset, sizes.state) &&
                (sizes.state > 0 || stage->state_offset == 0),
            stage->state_offset);
    REQUIRE(stage->scratch_bytes == scratch, stage->scratch_bytes);
    REQUIRE(nrw_in_arena(model, stage->scratch_offset, scratch) &&
                (scratch > 0 || stage->scratch_offset == 0),
            stage->scratch_offset);
    return NRW_OK;
}

NRW_COLD static int check_strip(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_operator *op = nrw_operator_of(stage);
    const uint32_t width = nrw_frame(model, stage)->width;
    const bool by_rows = op->by_rows != NULL && op->by_rows(model, stage);

    REQUIRE(stage->strip > 0 && stage->strip <= width && (!by_rows || stage->strip == width),
            stage->strip);
    for (uint32_t i = 0; by_rows && i < stage->input_count; i++) {
        REQUIRE(!nrw_may_wrap(nrw_input_of(model, stage, i)), stage->inputs[i]);
    }
    if (stage->op != NRW_OP_OUTPUT) {
        const struct nrw_tensor *out = nrw_output_of(model, stage);
        /* The caller gives as many pixels each time, which stand side by side. */
        const bool even = by_rows || stage->op == NRW_OP_INPUT;
        const bool is_even = nrw_accumulates(stage) ? nrw_is_whole(out) : nrw_is_even(model, stage);
        if (!NRW_UNEVEN && !is_even) {
            return lacks(model, &stage->op);
        }
        REQUIRE(is_even || (!even && !nrw_accumulates(stage)), out->capacity);
    }
    return NRW_OK;
}

NRW_COLD static int check_stage(struct nrw_model *model, uint32_t index)
{
    const struct nrw_stage *stage = nrw_stages(model) + index;
    const struct nrw_tensor *tensors = nrw_tensors(model);

    REQUIRE((stage->op == NRW_OP_INPUT) == (index < model->input_count), stage->op);
    REQUIRE(index == 0 || stage[-1].op != NRW_OP_OUTPUT || stage->op == NRW_OP_OUTPUT, stage->op);
    /* A later minor version of the format may have more operators. */
    const struct nrw_operator *op = stage->op < NRW_OP_COUNT ? nrw_operator_of(stage) : NULL;
    REQUIRE(stage->form < NRW_FORM_COUNT && (op == NULL || (op->forms >> stage->form & 1u) != 0),
            stage->form);
    if (op == NULL || (nrw_forms_of[stage->op] >> stage->form & 1u) == 0) {
        return lacks(model, &stage->op);
    }
    REQUIRE((stage->flags & ~op->flags) == 0, stage->flags);
    REQUIRE(stage->input_count >= op->least_inputs && stage->input_count <= op->most_inputs,
            stage->input_count);
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t input = stage->inputs[i];
        if (i >= stage->input_count) {
            REQUIRE(input == NRW_NONE, stage->inputs[i]);
        } else {
            REQUIRE(input < model->tensor_count && (nrw_is_given(&tensors[input]) ||
                                                    tensors[input].producer < index),
                    stage->inputs[i]);
        }
    }
    if (stage->op == NRW_OP_OUTPUT) {
        REQUIRE(stage->output == NRW_NONE, stage->output);
    } else {
        REQUIRE(stage->output < model->tensor_count && tensors[stage->output].producer == index,
                stage->output);
    }
    REQUIRE(op->params_bytes > 0 ? nrw_in_body(model, stage->params, op->params_bytes, 4)
                                   : stage->params == 0 || stage->op == NRW_OP_OUTPUT,
            stage->params);
    TRY(check_strip(model, stage));
    if (op->check != NULL) {
        TRY(op->check(model, stage));
    }
    return check_extents(model, stage);
}

/* --- Readers and outputs ------------------------------------------------------------------- */

static bool reads(const struct nrw_stage *stage, uint32_t tensor)
{
    for (uint32_t i = 0; i < stage->input_count; i++) {
        if (stage->inputs[i] == tensor) {
            return true;
        }
    }
    return false;
}

/* Every entry is a reader and none stands twice; as many entries as there are readers then
 * means that none is missing. */
NRW_COLD static int check_readers(struct nrw_model *model)
{
    const struct nrw_stage *stages = nrw_stages(model);
    const uint16_t *readers = nrw_readers(model);
    uint32_t count = 0;

    for (uint32_t i = 0; i < model->tensor_count; i++) {
        for (uint32_t k = 0; k < nrw_tensors(model)[i].reader_count; k++, count++) {
            REQUIRE(readers[count] < model->stage_count && reads(&stages[readers[count]], i) &&
                        (k == 0 || readers[count - 1] < readers[count]),
                    readers[count]);
        }
    }
    for (uint32_t s = 0; s < model->stage_count; s++) {
        for (uint32_t i = 0; i < stages[s].input_count; i++) {
            bool first = true;
            for (uint32_t k = 0; k < i; k++) {
                first = first && stages[s].inputs[k] != stages[s].inputs[i];
            }
            if (first) {
                REQUIRE(count > 0, stages[s].inputs[i]);
                count--;
            }
        }
    }
    REQUIRE(count == 0, nrw_header_of(model)->reader_count);
    return NRW_OK;
}

/* Each look is at one stage and one reader, however many outputs are one tensor. */
NRW_COLD static int check_outputs(struct nrw_model *model)
{
    const uint16_t *outputs = nrw_outputs(model);

    for (uint32_t i = 0; i < model->output_count; i++) {
        REQUIRE(outputs[i] < model->tensor_count, outputs[i]);
        const struct nrw_tensor *tensor = nrw_tensors(model) + outputs[i];
        const struct nrw_stage *stage = nrw_hands_out(model, tensor);
        REQUIRE(stage != NULL || nrw_is_whole(tensor), outputs[i]);
        REQUIRE(stage == NULL || stage->params <= i, stage->params);
    }
    for (uint32_t s = model->stage_count; s-- > 0 && nrw_stages(model)[s].op == NRW_OP_OUTPUT;) {
        const struct nrw_stage *stage = nrw_stages(model) + s;
        REQUIRE(nrw_hands_out(model, nrw_input_of(model, stage, 0)) == stage, stage->inputs[0]);
    }
    return NRW_OK;
}

/* --- Variables ----------------------------------------------------------------------------- */

/* Each persistent tensor is one variable, in the order of the tensors. */
NRW_COLD static int check_variables(struct nrw_model *model)
{
    const struct nrw_header *header = nrw_header_of(model);
    const struct nrw_variable *variable = NULL;
    size_t room = nrw_arena_bytes(model);
    uint32_t count = 0;

    if (!NRW_VARIABLES) {
        REQUIRE(header->variables == 0, header->variables);
        return NRW_OK;
    }
    if (header->variables != 0) {
        REQUIRE(nrw_in_body(model, header->variables, sizeof count, 4), header->variables);
        const struct nrw_variables *all = nrw_at(model, header->variables);
        count = all->count;
        REQUIRE(nrw_in_body(model, header->variables,
                            sizeof count + (uint64_t)count * sizeof *variable, 4),
                all->count);
        variable = all->each;
    }
    for (uint32_t i = 0; i < model->tensor_count; i++) {
        const struct nrw_tensor *tensor = nrw_tensors(model) + i;
        if (tensor->flags != NRW_PERSISTENT) {
            continue;
        }
        REQUIRE(count > 0, tensor->flags);
        REQUIRE(variable->tensor == i && variable->source < model->tensor_count,
                variable->tensor);
        const struct nrw_tensor *source = nrw_tensors(model) + variable->source;
        const uint32_t pixels = nrw_pixels(tensor);
        const uint32_t bytes = pixels * nrw_pixel_bytes(tensor);
        REQUIRE(source->flags == 0 && nrw_is_whole(source) &&
                    source->channels == tensor->channels &&
                    nrw_fits(variable->first, pixels, source->capacity, 1),
                variable->source);
        /* No plan lets them overlap, so setting all of them takes no longer than the arena. */
        REQUIRE(bytes <= room && nrw_in_body(model, variable->initial, bytes, 1),
                variable->initial);
        room -= bytes;
        variable++;
        count--;
    }
    REQUIRE(count == 0, header->variables);
    return NRW_OK;
}

/* --- Work ---------------------------------------------------------------------------------- */

NRW_COLD static int add_up(struct nrw_model *model, struct nrw_total *total)
{
    uint64_t most = 0;

    *total = (struct nrw_total){0};
    for (uint32_t s = 0; s < model->stage_count; s++) {
        const struct nrw_stage *stage = nrw_stages(model) + s;
        const uint32_t firings = nrw_firings(model, stage);

        REQUIRE(firings <= UINT16_MAX, stage->strip);
        const struct nrw_work work = nrw_work_of(model, stage);
        REQUIRE(work.step <= NRW_MAX_STEP_WORK, stage->op);
        total->firings += firings;
        total->macs += work.macs;
        most = work.step > most ? work.step : most;
    }
    total->max_step_work = (uint32_t)most + nrw_bookkeeping(model);
    return NRW_OK;
}

/* The header promises how much work there is; nothing does more. */
NRW_COLD static int check_total(struct nrw_model *model, const struct nrw_total *total)
{
    const struct nrw_header *header = nrw_header_of(model);

    REQUIRE(header->macs == total->macs, header->macs);
    REQUIRE(header->max_step_work == total->max_step_work, header->max_step_work);
    REQUIRE(header->firings == total->firings, header->firings);
    return NRW_OK;
}

/* --- Public -------------------------------------------------------------------------------- */

int nrw_check(struct nrw_model *model, const void *blob, size_t size, struct nrw_total *total)
{
    model->blob = blob;
    TRY(check_header(model, size));
    TRY(check_tensors(model));
    for (uint32_t s = 0; s < model->stage_count; s++) {
        TRY(check_stage(model, s));
    }
    TRY(check_readers(model));
    TRY(check_outputs(model));
    TRY(check_variables(model));
    return add_up(model, total);
}

int nrw_open(struct nrw_model *model, const void *blob, size_t size)
{
    struct nrw_total total;

    if (model == NULL) {
        return NRW_ERR_ARGUMENT;
    }
    *model = (struct nrw_model){.conv_shift = INT8_MIN, .depthwise_shift = INT8_MIN};
    if (blob == NULL) {
        return NRW_ERR_ARGUMENT;
    }
    if ((uintptr_t)blob % 16 != 0) {
        return NRW_ERR_ALIGNMENT;
    }
    int status = nrw_check(model, blob, size, &total);
    if (status == NRW_OK) {
        status = check_total(model, &total);
    }
    if (status != NRW_OK) {
        /* A model that is not open has no stages, tensors or blob to look at. */
        *model = (struct nrw_model){.error_at = model->error_at};
    }
    return status;
}

int nrw_verify(const struct nrw_model *model)
{
    if (model == NULL || model->blob == NULL) {
        return NRW_ERR_ARGUMENT;
    }
    const uint32_t start = sizeof(struct nrw_header);
    const uint32_t crc = nrw_crc32(model->blob + start, model->blob_bytes - start);
    return crc == nrw_header_of(model)->body_crc ? NRW_OK : NRW_ERR_CRC;
}
