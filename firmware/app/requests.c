/* SPDX-License-Identifier: Apache-2.0 */
#include "requests.h"

#include "board.h"
#include "format.h"
#include "port.h"

struct server server;
struct store server_store;
struct nrw_model server_model;
struct nrw_run server_run;

typedef char check_arenas[(int)PORT_ARENAS == NRW_MEMORIES ? 1 : -1];

void get_blocks(struct nrw_block blocks[NRW_MEMORIES])
{
    struct port_memory memory;

    port_memory(&memory);
    for (uint32_t i = 0; i < NRW_MEMORIES; i++) {
        blocks[i] = (struct nrw_block){memory.arenas[i].data, memory.arenas[i].bytes};
    }
}

static void put_text(struct request *request, const char *text, uint32_t bytes)
{
    put8(request, bytes);
    put_bytes(request, text, bytes);
}

/* HELLO's answer fits into a frame, whatever the build calls its version and its board. */
typedef char check_hello[NRW_FRAME_HEADER + 43 + sizeof FIRMWARE_VERSION + sizeof BOARD_NAME +
                                     sizeof BOARD_CORE + NRW_FRAME_CRC <= LINK_FRAME_BYTES ? 1 : -1];

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
    put32(request, arena_bytes);
    put32(request, port_timer_hz());
    put32(request, store_room(&server_store));
    put32(request, store_room_beside(&server_store));
    put32(request, BOARD_RAM_BYTES);
    put32(request, BOARD_CODE_BYTES);
    put8(request, server_store.trusts != NULL ? LINK_SIGNED_ONLY : 0);
    put8(request, NRW_MAJOR);
    put_text(request, FIRMWARE_VERSION, sizeof FIRMWARE_VERSION - 1);
    put_text(request, BOARD_NAME, sizeof BOARD_NAME - 1);
    put_text(request, BOARD_CORE, sizeof BOARD_CORE - 1);
    return major == LINK_MAJOR ? (int)NRW_OK : (int)LINK_ERR_VERSION;
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
    put32(request, (uint32_t)nrw_arena_bytes(&server_model));
    put32(request, (uint32_t)nrw_memory_bytes(&server_model) + extra_bytes());
    put32(request, server.bad_frames);
    put32(request, server.ring.overruns);
    return NRW_OK;
}

static int on_reset(struct request *request)
{
    (void)request;
    run_end();
    server.held_set = 0;
    server.remembers = false;
    return NRW_OK;
}

static int on_baud(struct request *request)
{
    const uint32_t baud = nrw_load32(request->payload);

    if (baud == 0 || !port_uart_set_baud(baud, false)) {
        return NRW_ERR_ARGUMENT;
    }
    server.new_baud = baud;
    return NRW_OK;
}

static int on_reboot(struct request *request)
{
    (void)request;
    server.reboot = true;
    return NRW_OK;
}

static const struct {
    uint8_t type;
    uint8_t least; /* bytes of the payload, and the most */
    uint16_t most;
    int (*answer)(struct request *request);
} requests[] = {
    {LINK_HELLO, 1, 1, on_hello},
    {LINK_PING, 0, 0, on_ping},
    {LINK_STATUS, 0, 0, on_status},
    {LINK_RESET, 0, 0, on_reset},
    {LINK_BAUD, 4, 4, on_baud},
    {LINK_REBOOT, 0, 0, on_reboot},
    {LINK_MODEL, 0, 0, on_model},
    {LINK_BLOB_BEGIN, sizeof(struct store_update), sizeof(struct store_update), on_blob_begin},
    {LINK_BLOB_DATA, 5, 4 + LINK_DATA_BYTES, on_blob_data},
    {LINK_BLOB_END, SHA256_BYTES, SHA256_BYTES, on_blob_end},
    {LINK_START, 5, 5, on_start},
    {LINK_STATE, 0, 0, on_state},
    {LINK_ROW, 12, 11 + LINK_DATA_BYTES, on_row},
    {LINK_OUTPUT, 11, 11, on_output},
    {LINK_TAKE, 7, 7, on_take},
    {LINK_PROFILE, 6, 6, on_profile},
    {LINK_WATCH, 6, 6, on_watch},
    {LINK_TENSOR, 12, 12, on_tensor},
    {LINK_NEXT, 10, 10, on_next},
    {LINK_INPUT, 9, 8 + LINK_DATA_BYTES, on_input},
    {LINK_INFER, 9, 9 + LINK_DATA_BYTES, on_infer},
};

/* The payloads of these types begin with the number of the run that they are about. */
static bool is_about_run(uint8_t type)
{
    return type >= LINK_ROW && type <= LINK_NEXT;
}

int request_answer(uint8_t type, struct request *request)
{
    for (uint32_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        if (requests[i].type != type) {
            continue;
        }
        if (request->bytes < requests[i].least || request->bytes > requests[i].most) {
            return LINK_ERR_LENGTH;
        }
        if (is_about_run(type) &&
            (server.run_id == 0 || nrw_load32(request->payload) != server.run_id)) {
            return LINK_ERR_RUN;
        }
        return requests[i].answer(request);
    }
    return LINK_ERR_TYPE;
}
