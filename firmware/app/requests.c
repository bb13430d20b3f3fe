/* SPDX-License-Identifier: Apache-2.0 */
#include "requests.h"

#include <string.h>

#include "crc32.h"
#include "frame.h"
#include "port.h"

struct server server;

/* --- Model ----------------------------------------------------------------------------------- */

static void end_run(void)
{
    server.run_status = LINK_ERR_RUN;
    server.run_id = 0;
    server.stage_ticks = NULL;
    server.event_due = false;
    server.watch = LINK_WATCH_NONE;
    server.ticks = 0;
    server.firings = 0;
    server.input = 0;
    server.part_received = 0;
}

void model_open(uint32_t bytes)
{
    server.model_status = nrw_open(&server.model, port_slot(), bytes);
    if (server.model_status == NRW_OK) {
        server.model_status = nrw_verify(&server.model);
    }
}

void model_close(void)
{
    end_run();
    server.model = (struct nrw_model){0};
    server.model_status = LINK_ERR_NO_MODEL;
}

/* What port_memory says, as the runtime wants it. */
static void get_blocks(struct nrw_block blocks[NRW_MEMORIES])
{
    struct port_memory memory;

    port_memory(&memory);
    for (uint32_t i = 0; i < NRW_MEMORIES; i++) {
        blocks[i] = (struct nrw_block){memory.arenas[i].data, memory.arenas[i].bytes};
    }
}
typedef char check_arenas[(int)PORT_ARENAS == NRW_MEMORIES ? 1 : -1];

/* Bytes of the profile's counters, behind those of the run. */
static uint32_t counter_bytes(void)
{
    return server.model.stage_count * (uint32_t)sizeof(uint32_t);
}

/* --- Requests ----------------------------------------------------------------------------------
 * Any request may come twice: those that change something look at what they say of themselves
 * (offset, row, run). */

static void put8(struct request *request, uint32_t value)
{
    *request->out++ = (uint8_t)value;
}

static void put16(struct request *request, uint32_t value)
{
    request->out = nrw_store16(request->out, value);
}

static void put32(struct request *request, uint32_t value)
{
    request->out = nrw_store32(request->out, value);
}

static void put64(struct request *request, uint64_t value)
{
    put32(request, (uint32_t)value);
    put32(request, (uint32_t)(value >> 32));
}

static void put_text(struct request *request, const char *text, uint32_t bytes)
{
    put8(request, bytes);
    memcpy(request->out, text, bytes);
    request->out += bytes;
}

/* HELLO's answer fits into a frame, whatever the build calls its version and its board. */
typedef char check_hello[NRW_FRAME_HEADER + 28 + sizeof FIRMWARE_VERSION + sizeof BOARD_NAME +
                                     NRW_FRAME_CRC <= LINK_FRAME_BYTES ? 1 : -1];

static int on_hello(struct request *request)
{
    const uint32_t major = request->payload[0];
    struct nrw_block blocks[NRW_MEMORIES];
    uint32_t arena_bytes = 0;

    get_blocks(blocks);
    for (uint32_t i = 0; i < NRW_MEMORIES; i++) {
        arena_bytes += (uint32_t)blocks[i].bytes;
    }
    put8(request, LINK_MAJOR);
    put8(request, LINK_MINOR);
    put16(request, LINK_FRAME_BYTES);
    put32(request, NRW_RING_BYTES);
    put32(request, nrw_layouts());
    put32(request, port_slot_bytes());
    put32(request, arena_bytes);
    put32(request, port_timer_hz());
    put_text(request, FIRMWARE_VERSION, sizeof FIRMWARE_VERSION - 1);
    put_text(request, BOARD_NAME, sizeof BOARD_NAME - 1);
    return major == LINK_MAJOR ? NRW_OK : LINK_ERR_VERSION;
}

static int on_ping(struct request *request)
{
    (void)request;
    return NRW_OK;
}

static int on_status(struct request *request)
{
    struct port_memory memory;

    port_memory(&memory);
    put32(request, memory.stack_bytes);
    put32(request, port_stack_high_water());
    put32(request, memory.static_bytes);
    put32(request, (uint32_t)nrw_arena_bytes(&server.model));
    put32(request, (uint32_t)nrw_memory_bytes(&server.model) +
                       (server.stage_ticks != NULL ? counter_bytes() : 0));
    put32(request, server.bad_frames);
    put32(request, server.ring.overruns);
    return NRW_OK;
}

static int on_reset(struct request *request)
{
    (void)request;
    end_run();
    return NRW_OK;
}

static int on_model(struct request *request)
{
    /* Checksums are the last words of the header (runtime/SPEC.md). */
    enum { HEADER_BYTES = 80 };
    const bool good = server.model_status == NRW_OK;
    const uint8_t *header = port_slot();

    put32(request, server.model.error_at);
    put32(request, server.model.blob_bytes);
    put32(request, good ? nrw_load32(header + HEADER_BYTES - 8) : 0);
    put32(request, good ? nrw_load32(header + HEADER_BYTES - 4) : 0);
    put32(request, (uint32_t)nrw_arena_bytes(&server.model));
    put32(request, (uint32_t)nrw_memory_bytes(&server.model));
    put16(request, server.model.stage_count);
    put16(request, server.model.input_count);
    put16(request, server.model.output_count);
    return server.model_status;
}

/* The same upload begun again goes on where it was. */
static int on_blob_begin(struct request *request)
{
    const uint32_t bytes = nrw_load32(request->payload);
    const uint32_t crc = nrw_load32(request->payload + 4);

    if (bytes == 0 || bytes > port_slot_bytes()) {
        return LINK_ERR_SLOT;
    }
    if (bytes != server.upload_bytes || crc != server.upload_crc) {
        model_close();
        server.upload_bytes = bytes;
        server.upload_crc = crc;
        server.received = 0;
    }
    put32(request, server.received);
    return NRW_OK;
}

static int on_blob_data(struct request *request)
{
    const uint32_t offset = nrw_load32(request->payload);
    const uint8_t *bytes = request->payload + 4;
    const uint32_t count = request->bytes - 4;
    int result = NRW_OK;

    if (server.upload_bytes == 0) {
        return LINK_ERR_UPLOAD;
    }
    if (count > server.upload_bytes || offset > server.upload_bytes - count) {
        result = NRW_ERR_ARGUMENT;
    } else if (offset > server.received) {
        result = LINK_ERR_GAP;
    } else if (offset == server.received) {
        result = port_slot_write(offset, bytes, count) == 0 ? NRW_OK : LINK_ERR_WRITE;
        server.received += result == NRW_OK ? count : 0;
    }
    put32(request, server.received);
    return result;
}

static int on_blob_end(struct request *request)
{
    if (server.upload_bytes == 0) {
        return LINK_ERR_UPLOAD;
    }
    if (server.received < server.upload_bytes) {
        put32(request, server.received);
        return LINK_ERR_GAP;
    }
    if (server.model_status != NRW_OK) {
        if (nrw_crc32(port_slot(), server.upload_bytes) != server.upload_crc) {
            server.received = 0;
            put32(request, 0);
            return NRW_ERR_CRC;
        }
        model_open(server.upload_bytes);
    }
    put32(request, server.model.error_at);
    return server.model_status;
}

static int on_start(struct request *request)
{
    const uint32_t id = nrw_load32(request->payload);
    const bool profile = (request->payload[4] & LINK_START_PROFILE) != 0;
    struct nrw_block blocks[NRW_MEMORIES];

    if (server.model_status != NRW_OK) {
        return LINK_ERR_NO_MODEL;
    }
    if (id == 0) {
        return NRW_ERR_ARGUMENT;
    }
    if (id == server.run_id) {
        return NRW_OK;
    }
    end_run();
    get_blocks(blocks);
    const uint64_t before = port_ticks();
    const int result = nrw_start_memories(&server.run, &server.model, blocks, NRW_MEMORIES);
    server.ticks = port_ticks() - before;
    if (result != NRW_OK) {
        return result;
    }
    if (profile) {
        const size_t used = server.model.arena_bytes[0] + nrw_progress_bytes(&server.model);
        if (blocks[0].bytes < used + counter_bytes()) {
            return NRW_ERR_MEMORY;
        }
        server.stage_ticks = (uint32_t *)(void *)((uint8_t *)blocks[0].data + used);
        memset(server.stage_ticks, 0, counter_bytes());
    }
    server.run_id = id;
    server.run_status = NRW_OK;
    return NRW_OK;
}

/* How far an input has come: whole rows, and bytes of the next one that have been pushed. */
struct reached {
    uint32_t row, bytes;
};

static struct reached input_reached(int input)
{
    struct nrw_tensor_info info;

    if (server.run_id == 0 || nrw_input_info(&server.model, input, &info) != NRW_OK) {
        return (struct reached){0, 0};
    }
    /* Input number i is stage i (runtime/SPEC.md). */
    const uint32_t pixels =
        (uint32_t)nrw_tensor_pixels(&server.run, nrw_stage_output(&server.model, input));
    return (struct reached){pixels / info.width, pixels % info.width * info.channels};
}

/* What the last firing gave to: what HAVE_TENSOR speaks of. */
static int last_tensor(void)
{
    return nrw_stage_output(&server.model, nrw_last_stage(&server.run));
}

/* A stage has fired: wait for the host if it wants to see what that gave. */
void offer_tensor(void)
{
    const int tensor = last_tensor();

    if (tensor >= 0 && (server.watch == LINK_WATCH_ALL || server.watch == tensor)) {
        server.run_status = LINK_HAVE_TENSOR;
        server.event_due = true;
    }
}

/* Bytes of a tensor that stand side by side, the first at some offset from its start. */
struct piece {
    const int8_t *bytes;      /* NULL: no longer, or not yet, in the ring */
    uint32_t count;           /* to the end of what is sure to lie side by side */
    uint32_t made;            /* bytes of the tensor so far */
};

static struct piece tensor_piece(int tensor, uint32_t offset)
{
    struct nrw_tensor_info info = {0};
    nrw_tensor_info(&server.model, tensor, &info);
    const uint32_t unit = info.channels;
    const uint32_t made = (uint32_t)nrw_tensor_pixels(&server.run, tensor) * unit;
    const int8_t *start =
        offset < made ? nrw_tensor_pixel(&server.run, tensor, (int)(offset / unit)) : NULL;

    return (struct piece){
        .bytes = start != NULL ? start + offset % unit : NULL,
        .count = unit - offset % unit,
        .made = made,
    };
}

void put_state(struct request *request)
{
    const int status = server.run_status;
    const int tensor = last_tensor();
    struct reached reached = input_reached(server.input);

    reached.bytes += server.part_received;
    if (status == NRW_HAVE_ROW) {
        reached = (struct reached){(uint32_t)server.row_index, 0};
    } else if (status == LINK_HAVE_TENSOR) {
        reached = (struct reached){(uint32_t)tensor, tensor_piece(tensor, 0).made};
    }
    put32(request, server.run_id);
    put8(request, (uint32_t)(status == NRW_HAVE_ROW ? server.row_output : server.input));
    put16(request, reached.row);
    put32(request, reached.bytes);
    put32(request, server.firings);
}

static int on_state(struct request *request)
{
    put_state(request);
    return server.run_status;
}

static bool is_this_run(const struct request *request)
{
    return server.run_id != 0 && nrw_load32(request->payload) == server.run_id;
}

/* A piece of the row that is asked for goes where the row will stand, as far as it is due. A
 * piece of an earlier row, or one that is there already, has been sent twice and changes
 * nothing. */
static int on_row(struct request *request)
{
    const int input = request->payload[4];
    const uint32_t number = nrw_load16(request->payload + 5);
    const uint32_t offset = nrw_load32(request->payload + 7);
    const uint8_t *bytes = request->payload + 11;
    const uint32_t count = request->bytes - 11;
    struct nrw_tensor_info info;
    int result = NRW_OK;

    if (!is_this_run(request)) {
        return LINK_ERR_RUN;
    }
    if (nrw_input_info(&server.model, input, &info) != NRW_OK || number >= info.height ||
        count > info.row_bytes || offset > info.row_bytes - count) {
        return NRW_ERR_ARGUMENT;
    }
    const struct reached reached = input_reached(input);
    if (number < reached.row) {
        put32(request, info.row_bytes);
        return NRW_OK;
    }
    if (number == reached.row && offset + count <= reached.bytes) {
        put32(request, reached.bytes + (input == server.input ? server.part_received : 0));
        return NRW_OK;
    }
    if (server.run_status != NRW_NEED_ROW || input != server.input || number > reached.row) {
        return NRW_ERR_STATE;
    }
    if (offset > reached.bytes + server.part_received) {
        result = LINK_ERR_GAP;
    } else if (offset == reached.bytes + server.part_received) {
        const uint32_t due = nrw_due_bytes(&server.run);
        const uint32_t left = due - server.part_received;
        const uint32_t taken = count < left ? count : left;
        memcpy((uint8_t *)nrw_row_slot(&server.run) + server.part_received, bytes, taken);
        server.part_received += taken;
    }
    put32(request, reached.bytes + server.part_received);
    if (server.part_received == nrw_due_bytes(&server.run)) {
        const uint64_t before = port_ticks();
        server.part_received = 0;
        server.run_status = nrw_push_slot(&server.run);
        server.ticks += port_ticks() - before;
        offer_tensor();
    }
    return result;
}

/* Bytes of a whole output after the last firing, or of the row that is offered. */
static int on_output(struct request *request)
{
    const int index = request->payload[4];
    const uint32_t offset = nrw_load32(request->payload + 5);
    const uint32_t count = nrw_load16(request->payload + 9);
    struct nrw_tensor_info info;
    const int8_t *bytes = NULL;
    uint32_t first = 0, size = 0;

    if (!is_this_run(request)) {
        return LINK_ERR_RUN;
    }
    if (nrw_output_info(&server.model, index, &info) != NRW_OK || count > LINK_DATA_BYTES) {
        return NRW_ERR_ARGUMENT;
    }
    if (server.run_status == NRW_HAVE_ROW && index == server.row_output) {
        bytes = server.row;
        first = (uint32_t)server.row_index * info.row_bytes;
        size = info.row_bytes;
    } else if (server.run_status == NRW_DONE) {
        bytes = nrw_output(&server.run, index);
        size = info.height * info.row_bytes;
    }
    if (bytes == NULL || offset < first) {
        return NRW_ERR_STATE;
    }
    if (count > size || offset - first > size - count) {
        return NRW_ERR_ARGUMENT;
    }
    put32(request, offset);
    memcpy(request->out, bytes + (offset - first), count);
    request->out += count;
    return NRW_OK;
}

/* The host has read the row that is offered. */
static int on_take(struct request *request)
{
    const int index = request->payload[4];
    const int number = nrw_load16(request->payload + 5);

    if (!is_this_run(request)) {
        return LINK_ERR_RUN;
    }
    if (server.run_status == NRW_HAVE_ROW && index == server.row_output &&
        number == server.row_index) {
        server.run_status = NRW_OK;
    }
    return NRW_OK;
}

static int on_profile(struct request *request)
{
    const uint32_t first = nrw_load16(request->payload + 4);
    const uint32_t stages = server.stage_ticks != NULL ? server.model.stage_count : 0;
    const uint32_t most = LINK_DATA_BYTES / sizeof(uint32_t);

    if (!is_this_run(request)) {
        return LINK_ERR_RUN;
    }
    const uint32_t left = first < stages ? stages - first : 0;
    const uint32_t count = left < most ? left : most;
    put64(request, server.ticks);
    put16(request, first);
    for (uint32_t i = 0; i < count; i++) {
        put32(request, server.stage_ticks[first + i]);
    }
    return NRW_OK;
}

static int on_watch(struct request *request)
{
    const uint16_t tensor = nrw_load16(request->payload + 4);

    if (!is_this_run(request)) {
        return LINK_ERR_RUN;
    }
    if (tensor >= server.model.tensor_count && tensor < LINK_WATCH_ALL) {
        return NRW_ERR_ARGUMENT;
    }
    server.watch = tensor;
    return NRW_OK;
}

/* Bytes of the tensor that is offered, from the first that is still in its ring. */
static int on_tensor(struct request *request)
{
    const int tensor = nrw_load16(request->payload + 4);
    uint32_t offset = nrw_load32(request->payload + 6);
    uint32_t left = nrw_load16(request->payload + 10);

    if (!is_this_run(request)) {
        return LINK_ERR_RUN;
    }
    if (left > LINK_DATA_BYTES) {
        return NRW_ERR_ARGUMENT;
    }
    if (server.run_status != LINK_HAVE_TENSOR || tensor != last_tensor()) {
        return NRW_ERR_STATE;
    }
    struct piece piece = tensor_piece(tensor, offset);
    while (piece.bytes == NULL && offset < piece.made) {
        offset += piece.count;
        piece = tensor_piece(tensor, offset);
    }
    put32(request, offset);
    while (piece.bytes != NULL && left > 0) {
        const uint32_t count = piece.count < left ? piece.count : left;
        memcpy(request->out, piece.bytes, count);
        request->out += count;
        offset += count;
        left -= count;
        piece = tensor_piece(tensor, offset);
    }
    return NRW_OK;
}

/* The host has read all that is offered. */
static int on_next(struct request *request)
{
    const int tensor = nrw_load16(request->payload + 4);
    const uint32_t bytes = nrw_load32(request->payload + 6);

    if (!is_this_run(request)) {
        return LINK_ERR_RUN;
    }
    if (server.run_status == LINK_HAVE_TENSOR && tensor == last_tensor() &&
        bytes == tensor_piece(tensor, 0).made) {
        server.run_status = NRW_OK;
    }
    return NRW_OK;
}

static const struct {
    uint8_t type;
    uint16_t least, most;     /* payload bytes */
    int (*answer)(struct request *request);
} requests[] = {
    {LINK_HELLO, 1, 1, on_hello},
    {LINK_PING, 0, 0, on_ping},
    {LINK_STATUS, 0, 0, on_status},
    {LINK_RESET, 0, 0, on_reset},
    {LINK_MODEL, 0, 0, on_model},
    {LINK_BLOB_BEGIN, 8, 8, on_blob_begin},
    {LINK_BLOB_DATA, 5, 4 + LINK_DATA_BYTES, on_blob_data},
    {LINK_BLOB_END, 0, 0, on_blob_end},
    {LINK_START, 5, 5, on_start},
    {LINK_STATE, 0, 0, on_state},
    {LINK_ROW, 12, 11 + LINK_DATA_BYTES, on_row},
    {LINK_OUTPUT, 11, 11, on_output},
    {LINK_TAKE, 7, 7, on_take},
    {LINK_PROFILE, 6, 6, on_profile},
    {LINK_WATCH, 6, 6, on_watch},
    {LINK_TENSOR, 12, 12, on_tensor},
    {LINK_NEXT, 10, 10, on_next},
};

int request_answer(uint8_t type, struct request *request)
{
    int result = LINK_ERR_TYPE;

    for (uint32_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        if (requests[i].type == type) {
            result = request->bytes < requests[i].least || request->bytes > requests[i].most
                         ? LINK_ERR_LENGTH
                         : requests[i].answer(request);
        }
    }
    return result;
}
