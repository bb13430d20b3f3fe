/* SPDX-License-Identifier: Apache-2.0 */
#include "server.h"

#include "board.h"
#include "frame.h"
#include "mlperf.h"
#include "port.h"
#include "requests.h"

/* --- What the port calls ------------------------------------------------------------------- */

void app_received(uint8_t byte)
{
    nrw_ring_put(&server.ring, byte);
}

int app_is_idle(void)
{
    return nrw_ring_is_empty(&server.ring);
}

void app_fault(uint32_t pc, uint32_t cause)
{
    nrw_store32(nrw_store32(server.frame + NRW_FRAME_HEADER, pc), cause);
    nrw_cobs_send(server.frame,
                  nrw_frame_seal(server.frame, LINK_FAULT | LINK_ANSWER, 0, 8),
                  port_uart_send);
}

void server_begin(void)
{
    memset(&server, 0, sizeof server);
    nrw_cobs_begin(&server.cobs, server.frame, sizeof server.frame);
    server.baud = BOARD_UART_BAUD;
    model_begin();
    if (BOARD_MLPERF) {
        mlperf_begin();
    }
}

/* --- Baud rate ------------------------------------------------------------------------------- */

static void set_baud(uint32_t baud)
{
    port_uart_set_baud(baud, true);
    server.new_baud = 0;
}

/* The host has not been heard at the new rate: it may not have heard that there is one. */
static void check_baud(void)
{
    if (server.pending_baud != 0 && (uint32_t)port_ticks() - server.baud_since >=
                                        port_timer_hz() * LINK_BAUD_SECONDS) {
        server.pending_baud = 0;
        set_baud(server.baud);
    }
}

/* What an answer has promised happens once it has been sent. */
static void after_answer(void)
{
    if (server.reboot) {
        port_reset();
    }
    if (server.new_baud != 0) {
        server.baud_since = (uint32_t)port_ticks();
        server.pending_baud = server.new_baud;
        set_baud(server.new_baud);
    }
}

/* --- Frames in and out --------------------------------------------------------------------- */

static void send(uint8_t type, uint16_t number, int result, const uint8_t *end)
{
    uint8_t *payload = server.frame + NRW_FRAME_HEADER;

    nrw_store16(payload, (uint16_t)result);
    nrw_cobs_send(server.frame,
                  nrw_frame_seal(server.frame, type | LINK_ANSWER, number,
                                 (uint32_t)(end - payload)),
                  port_uart_send);
}

static void send_event(void)
{
    struct request event = {.out = server.frame + NRW_FRAME_HEADER + 2};

    server.event_due = false;
    put_state(&event);
    send(LINK_STATE, 0, server.run_status, event.out);
}

static void answer(uint32_t count)
{
    if (!nrw_frame_is_good(server.frame, count)) {
        server.bad_frames++;
        return;
    }
    const uint8_t type = server.frame[0];
    const uint16_t number = nrw_load16(server.frame + 1);
    struct request request = {
        .payload = server.frame + NRW_FRAME_HEADER,
        .bytes = count - NRW_FRAME_HEADER - NRW_FRAME_CRC,
        .out = server.frame + NRW_FRAME_HEADER + 2,
    };
    if (server.pending_baud != 0) {
        server.baud = server.pending_baud;
        server.pending_baud = 0;
    }
    const int result = request_answer(type, &request);

    send(type, number, result, request.out);
    after_answer();
}

static void step(void)
{
    const uint32_t before = (uint32_t)port_ticks();
    const int result = nrw_step(&server_run);
    const uint32_t spent = (uint32_t)port_ticks() - before;

    server.ticks += spent;
    server.run_status = result;
    if (result == NRW_OK) {
        server.firings++;
        if (server.stage_ticks != NULL) {
            server.stage_ticks[nrw_last_stage(&server_run)] += spent;
        }
        offer_tensor();
        return;
    }
    if (result == NRW_NEED_ROW) {
        server.input = nrw_wanted_input(&server_run);
        feed();
    }
    if (result == NRW_HAVE_ROW) {
        const int status = nrw_take_row(&server_run, &server.row, &server.row_output,
                                        &server.row_index);
        server.run_status = status == NRW_OK ? NRW_HAVE_ROW : status;
    }
    server.event_due = server.event_due || server.run_status != NRW_OK;
}

bool server_poll(void)
{
    bool busy = server.pending_baud != 0;

    check_baud();
    while (!nrw_ring_is_empty(&server.ring)) {
        const uint8_t byte = nrw_ring_take(&server.ring);
        busy = true;
        if (BOARD_MLPERF && mlperf_take(byte)) {
            continue;
        }
        const int32_t count = nrw_cobs_push(&server.cobs, byte);
        if (count > 0) {
            answer((uint32_t)count);
        } else if (count == NRW_COBS_BAD) {
            server.bad_frames++;
        }
    }
    if (server.run_id != 0 && server.run_status == NRW_OK) {
        step();
        busy = true;
    }
    if (BOARD_MLPERF && mlperf_poll()) {
        busy = true;
    }
    /* Not over a request that has half arrived: it stands in the same buffer. */
    if (server.event_due && server.cobs.code == 0 && !(BOARD_MLPERF && mlperf_is_spoken())) {
        send_event();
    }
    return busy;
}
