/* SPDX-License-Identifier: Apache-2.0 */
/* app ROUNDS SEED BLOB...: the firmware's application on this host, over a simulated port, at the
 * mercy of whoever sits at the other end of the line: requests with right checksums and hostile
 * lengths and fields, in any order, frames that are damaged, doubled, cut or mixed with garbage,
 * more bytes than the receive buffer holds, hostile blobs, commands of MLPerf Tiny's protocol.
 *
 * Whatever came: every frame of the device must be one that firmware/PROTOCOL.md allows, every
 * request is answered once and in order, a PING is answered at once, and now and then a host with
 * manners gets the right outputs. Memory and arithmetic are for the sanitizers to see. Every loop
 * counts its steps, so that a device that hangs is one that fails. The same arguments do the same. */
#include "app_port.h"
#include "app_text.h"
#include "cobs.h"
#include "crc32.h"
#include "frame.h"
#include "hostile.h"
#include "protocol.h"
#include "ring.h"
#include "server.h"
#include "store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAYLOAD_BYTES = LINK_FRAME_BYTES - NRW_FRAME_HEADER - NRW_FRAME_CRC,
    STUFFED_BYTES = LINK_FRAME_BYTES + 8,
    MOST_DUE = NRW_RING_BYTES,
    MOST_BLOBS = 64,
    SET = 7,                    /* the host's number for the inputs that it lets the device hold */
    TYPES = 256
};

static uint64_t state;

uint32_t random_below(uint32_t n)
{
    /* xorshift64* */
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)((state * 2685821657736338717u) >> 32) % n;
}

static bool one_in(uint32_t n)
{
    return random_below(n) == 0;
}

struct blob {
    uint8_t *bytes;
    uint32_t size;
};

/* What the host knows. The device's answers are followed through, so that hostile requests meet
 * a device that is in the midst of something. */
static struct {
    struct nrw_cobs line, seen; /* from the device, and what the device must see */
    bool in_frame;              /* of the device: a zero has begun it */
    uint8_t heard[LINK_FRAME_BYTES], sent[LINK_FRAME_BYTES];
    uint32_t waiting;           /* bytes in the receive buffer, at most */
    bool flooding;              /* it runs over: what the device sees is not known */
    uint16_t number;            /* of the last request */
    struct {
        uint8_t type;
        uint16_t number;
    } due[MOST_DUE];            /* requests without an answer, a ring */
    uint32_t due_begin, due_end;

    uint16_t answered;          /* the last request that was, its status and its other fields */
    int status;
    uint8_t fields[PAYLOAD_BYTES];

    struct blob blob;           /* what is uploaded */
    uint32_t row_bytes;         /* of its first input */
    uint32_t received, counter;
    uint32_t held;              /* bytes of the inputs, as INPUT says */
    int32_t *scores;            /* of output 0, as a run in this process has given them */
    uint32_t score_count;       /* 0 if it comes by rows */
    int run_status;
    uint32_t run, row, done;    /* of STATE */
    uint8_t index;

    uint64_t bytes, frames, good, answers;
    uint64_t successes[TYPES];  /* answers with a status of 0 or more */
} host;

/* --- What the device says ---------------------------------------------------------------------- */

static const struct {
    uint8_t type;
    uint32_t least, most;       /* bytes behind a good status */
} answers[] = {
    {LINK_HELLO, 38 + 1 + 5 + 1 + 4 + 1 + 4, 38 + 1 + 5 + 1 + 4 + 1 + 4},
    {LINK_PING, 0, 0},
    {LINK_STATUS, 28, 28},
    {LINK_RESET, 0, 0},
    {LINK_BAUD, 0, 0},
    {LINK_REBOOT, 0, 0},
    {LINK_MODEL, 98, 98},
    {LINK_BLOB_BEGIN, 4, 4},
    {LINK_BLOB_DATA, 4, 4},
    {LINK_BLOB_END, 4, 4},
    {LINK_START, 0, 0},
    {LINK_STATE, 15, 15},
    {LINK_ROW, 4, 4},
    {LINK_OUTPUT, 4, 4 + LINK_DATA_BYTES},
    {LINK_TAKE, 0, 0},
    {LINK_PROFILE, 10, 10 + LINK_DATA_BYTES},
    {LINK_WATCH, 0, 0},
    {LINK_TENSOR, 4, 4 + LINK_DATA_BYTES},
    {LINK_NEXT, 0, 0},
    {LINK_INPUT, 4, 4},
    {LINK_INFER, 4, 4},
};
enum { KNOWN = sizeof answers / sizeof answers[0] };

static void check_answer(uint8_t type, int status, uint32_t bytes)
{
    uint32_t i = 0;
    while (i < KNOWN && answers[i].type != type) {
        i++;
    }
    if (i == KNOWN) {
        REQUIRE(status == LINK_ERR_TYPE && bytes == 0);
        return;
    }
    REQUIRE(status >= LINK_ERR_ROOM && status != LINK_ERR_TYPE);
    REQUIRE(status <= NRW_DONE || (status == LINK_HAVE_TENSOR && type == LINK_STATE));
    REQUIRE(bytes <= answers[i].most);
    REQUIRE(bytes >= answers[i].least || status < 0);
    host.successes[type] += status >= 0;
}

static void hear_frame(uint32_t count)
{
    REQUIRE(nrw_frame_is_good(host.heard, count));
    const uint8_t *payload = host.heard + NRW_FRAME_HEADER;
    const uint32_t bytes = count - NRW_FRAME_HEADER - NRW_FRAME_CRC;
    const uint16_t number = nrw_load16(host.heard + 1);
    REQUIRE((host.heard[0] & LINK_ANSWER) != 0 && bytes >= 2);
    const uint8_t type = host.heard[0] & (uint8_t)~LINK_ANSWER;
    const int status = (int16_t)nrw_load16(payload);
    if (number == 0) {
        REQUIRE(type == LINK_STATE && bytes == 17);
        REQUIRE(host.flooding || !text_is_spoken());
    } else {
        if (!host.flooding) {
            REQUIRE(host.due_begin != host.due_end);
            const uint32_t first = host.due_begin++ % MOST_DUE;
            REQUIRE(host.due[first].number == number);
            REQUIRE((host.due[first].type | LINK_ANSWER) == host.heard[0]);
            check_answer(host.due[first].type, status, bytes - 2);
        }
        host.answered = number;
        host.status = status;
        memcpy(host.fields, payload + 2, bytes - 2);
        host.answers++;
    }
    if (type == LINK_STATE && bytes == 17) {
        host.run_status = status;
        host.run = nrw_load32(payload + 2);
        host.index = payload[6];
        host.row = nrw_load16(payload + 7);
        host.done = nrw_load32(payload + 9);
    } else if (bytes == 6 && (type == LINK_BLOB_BEGIN || type == LINK_BLOB_DATA)) {
        host.received = nrw_load32(payload + 2);
    } else if (bytes == 6 && (type == LINK_INPUT || type == LINK_INFER)) {
        host.held = nrw_load32(payload + 2);
    }
}

void app_port_sent(uint8_t byte)
{
    if (!host.in_frame && byte != 0) {
        text_heard(byte);
        return;
    }
    const int32_t count = nrw_cobs_push(&host.line, byte);
    REQUIRE(count != NRW_COBS_BAD);
    host.in_frame = byte != 0 || !host.in_frame;
    if (count > 0) {
        hear_frame((uint32_t)count);
    }
}

void app_port_was_reset(void)
{
    host.due_begin = host.due_end;
    nrw_cobs_begin(&host.seen, host.sent, sizeof host.sent);
    text_was_reset();
}

/* --- What the host sends ------------------------------------------------------------------------ */

static void poll_device(void)
{
    server_poll();
    host.waiting = 0;
}

static void put(uint8_t byte)
{
    if (host.waiting == NRW_RING_BYTES && !host.flooding) {
        poll_device();
    }
    app_received(byte);
    host.waiting++;
    host.bytes++;
    if (host.flooding) {
        return;
    }
    if (text_put(byte)) {
        nrw_cobs_begin(&host.seen, host.sent, sizeof host.sent);
        return;
    }
    const int32_t count = nrw_cobs_push(&host.seen, byte);
    if (count > 0 && nrw_frame_is_good(host.sent, (uint32_t)count)) {
        REQUIRE(host.due_end - host.due_begin < MOST_DUE);
        host.due[host.due_end % MOST_DUE].type = host.sent[0];
        host.due[host.due_end++ % MOST_DUE].number = nrw_load16(host.sent + 1);
        host.good++;
    }
}

static uint8_t stuffed[STUFFED_BYTES];
static uint32_t stuffed_bytes;

static void stuff(uint8_t byte)
{
    REQUIRE(stuffed_bytes < STUFFED_BYTES);
    stuffed[stuffed_bytes++] = byte;
}

/* The bytes of a request under the next number, in `stuffed`. */
static void seal(uint8_t type, const uint8_t *payload, uint32_t bytes)
{
    uint8_t packet[LINK_FRAME_BYTES];
    host.number = (uint16_t)(host.number % 0xFFFF + 1);
    for (uint32_t i = 0; i < bytes; i++) {
        packet[NRW_FRAME_HEADER + i] = payload[i];
    }
    stuffed_bytes = 0;
    nrw_cobs_send(packet, nrw_frame_seal(packet, type, host.number, bytes), stuff);
    host.frames++;
}

/* A request with manners. The device answers it before it does anything else. */
static int ask(uint8_t type, const uint8_t *payload, uint32_t bytes)
{
    /* What has half arrived may be a request that resets the device, which would lose this one. */
    put(0);
    poll_device();
    seal(type, payload, bytes);
    for (uint32_t i = 0; i < stuffed_bytes; i++) {
        put(stuffed[i]);
    }
    const uint16_t number = host.number;
    const uint64_t before = host.answers;
    poll_device();
    REQUIRE(host.answers > before && host.answered == number);
    REQUIRE(host.due_begin == host.due_end);
    return host.status;
}

static void ping(void)
{
    REQUIRE(ask(LINK_PING, NULL, 0) == NRW_OK);
}

static uint32_t inputs_bytes(const struct nrw_model *model)
{
    struct nrw_tensor_info info;
    uint32_t bytes = 0;
    for (int i = 0; i < model->input_count; i++) {
        REQUIRE(nrw_input_info(model, i, &info) == NRW_OK);
        bytes += info.height * info.row_bytes;
    }
    return bytes;
}

/* --- Hostile requests --------------------------------------------------------------------------- */

static uint32_t odd_value(void)
{
    static const uint32_t odd[] = {
        0, 1, 2, 3, 255, 256, 257, 0x7FFF, 0x8000, 0xFFFD, 0xFFFE, 0xFFFF, 0x10000,
        0x7FFFFFFF, 0x80000000u, 0xFFFFFF00u, 0xFFFFFFFEu, 0xFFFFFFFFu};
    return one_in(4) ? random_below(UINT32_MAX) : odd[random_below(sizeof odd / sizeof odd[0])];
}

/* Mostly the value that would be right. */
static uint32_t about(uint32_t right)
{
    switch (random_below(10)) {
    case 0:
        return right + random_below(5) - 2;
    case 1:
        return odd_value();
    case 2:
        return random_below(8);
    default:
        return right;
    }
}

/* What would bring the device further. */
static uint8_t useful_type(void)
{
    if (host.received < host.blob.size) {
        return one_in(16) ? LINK_BLOB_BEGIN : LINK_BLOB_DATA;
    }
    switch (host.run_status) {
    case NRW_OK:
        return LINK_STATE;
    case NRW_NEED_ROW:
        if (one_in(4)) {
            return LINK_INPUT;
        }
        return host.row == 0 && one_in(8) ? LINK_WATCH : LINK_ROW;
    case NRW_HAVE_ROW:
        return one_in(3) ? LINK_TAKE : LINK_OUTPUT;
    case LINK_HAVE_TENSOR:
        return one_in(3) ? LINK_NEXT : LINK_TENSOR;
    case NRW_DONE:
        return one_in(3) ? LINK_PROFILE : LINK_OUTPUT;
    case LINK_ERR_RUN:
        return one_in(2) ? LINK_BLOB_END : one_in(4) ? LINK_INFER : LINK_START;
    default:
        return LINK_RESET;
    }
}

static uint8_t random_type(void)
{
    /* Few that are not useful: each of some kinds ends a run, or a model. */
    switch (random_below(20)) {
    case 0:
        return (uint8_t)random_below(TYPES);
    case 1:
    case 2:
        return answers[random_below(KNOWN)].type;
    case 3:
    case 4:
        return LINK_STATE;
    default:
        return useful_type();
    }
}

/* Some bytes, of which the device may make a row or a piece of a blob. */
static uint8_t *fill(uint8_t *at, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++) {
        *at++ = (uint8_t)random_below(256);
    }
    return at;
}

/* The update of the blob as a whole, sometimes with a field that is another. */
static uint8_t *announce(uint8_t *at)
{
    struct store_update update = {
        .bytes = about(host.blob.size), .counter = about(host.counter), .name = "a network"};
    sha256(update.hash, host.blob.bytes, host.blob.size);
    if (one_in(32)) {
        update.hash[random_below(SHA256_BYTES)] ^= 1;
    }
    memcpy(at, &update, sizeof update);
    return at + sizeof update;
}

static uint8_t *blob_data(uint8_t *at)
{
    const uint32_t offset = about(host.received);
    const uint32_t bytes = one_in(4) ? 1 + random_below(256) : 256;
    const uint32_t left = offset < host.blob.size ? host.blob.size - offset : 0;
    const uint32_t right = one_in(16) ? 0 : left < bytes ? left : bytes;
    at = nrw_store32(at, offset);
    memcpy(at, host.blob.bytes + (right > 0 ? offset : 0), right);
    return one_in(16) ? fill(at + right, bytes - right) : at + right;
}

static uint8_t *of_run(uint8_t *at)
{
    return nrw_store32(at, about(host.run));
}

static uint8_t *byte(uint8_t *at, uint32_t value)
{
    *at = (uint8_t)value;
    return at + 1;
}

/* The payload that a request of this type has, with fields that may be right. */
static uint32_t make_payload(uint8_t type, uint8_t *payload)
{
    uint8_t *at = payload;
    switch (type) {
    case LINK_HELLO:
        at = byte(at, about(LINK_MAJOR));
        break;
    case LINK_BAUD:
        at = nrw_store32(at, about(115200));
        break;
    case LINK_BLOB_BEGIN:
        at = announce(at);
        break;
    case LINK_BLOB_DATA:
        at = blob_data(at);
        break;
    case LINK_BLOB_END:
        sha256(at, host.blob.bytes, host.blob.size);
        at += SHA256_BYTES;
        break;
    case LINK_INPUT:
        at = nrw_store32(nrw_store32(at, about(SET)), about(host.held));
        at = fill(at, 1 + random_below(LINK_DATA_BYTES));
        break;
    case LINK_INFER:
        at = nrw_store32(byte(one_in(4) ? of_run(at) : fill(at, 4), random_below(4)), about(SET));
        at = fill(at, one_in(4) ? random_below(LINK_DATA_BYTES) : 0);
        break;
    case LINK_START:
        at = byte(one_in(4) ? of_run(at) : fill(at, 4), random_below(4));
        break;
    case LINK_ROW:
        at = nrw_store16(byte(of_run(at), about(host.index)), about(host.row));
        at = nrw_store32(at, about(host.done));
        at = fill(at, 1 + (about(host.row_bytes - host.done) - 1) % LINK_DATA_BYTES);
        break;
    case LINK_OUTPUT:
        at = byte(of_run(at), about(random_below(2)));
        at = nrw_store16(nrw_store32(at, about(host.row * random_below(64))), about(random_below(64)));
        break;
    case LINK_TAKE:
        at = nrw_store16(byte(of_run(at), about(host.index)), about(host.row));
        break;
    case LINK_PROFILE:
        at = nrw_store16(of_run(at), about(0));
        break;
    case LINK_WATCH:
        at = nrw_store16(of_run(at), about(one_in(2) ? LINK_WATCH_ALL : LINK_WATCH_NONE));
        break;
    case LINK_TENSOR:
        at = nrw_store32(nrw_store16(of_run(at), about(host.row)), about(host.done >> random_below(8)));
        at = nrw_store16(at, about(256));
        break;
    case LINK_NEXT:
        at = nrw_store32(nrw_store16(of_run(at), about(host.row)), about(host.done));
        break;
    default:
        break;
    }
    return (uint32_t)(at - payload);
}

/* A frame with a right checksum, in `stuffed`; its fields or its length may be anything. */
static void make_request(void)
{
    uint8_t payload[PAYLOAD_BYTES] = {0};
    const uint8_t type = random_type();
    uint32_t bytes = make_payload(type, payload);
    if (one_in(16)) {
        bytes = one_in(2) ? bytes + random_below(5) - 2 : random_below(PAYLOAD_BYTES + 1);
        bytes = bytes > PAYLOAD_BYTES ? 0 : bytes;
    }
    if (bytes > 0 && one_in(16)) {
        payload[random_below(bytes)] ^= (uint8_t)(1 + random_below(255));
    }
    seal(type, payload, bytes);
}

/* What a bad line makes of a frame. */
static void damage(void)
{
    const uint32_t at = random_below(stuffed_bytes);
    switch (random_below(4)) {
    case 0:
        stuffed[at] ^= (uint8_t)(1 + random_below(255));
        break;
    case 1:
        stuffed_bytes = at;
        break;
    case 2:
        memmove(stuffed + at, stuffed + at + 1, stuffed_bytes - at - 1);
        stuffed_bytes--;
        break;
    default:
        for (uint32_t n = random_below(400); n > 0; n--) {
            put((uint8_t)(one_in(8) ? 0 : random_below(256)));
        }
        break;
    }
}

static void burst(void)
{
    for (uint32_t n = 1 + random_below(8); n > 0; n--) {
        make_request();
        const bool twice = one_in(16);
        if (one_in(8)) {
            damage();
        }
        for (uint32_t i = 0; i < stuffed_bytes << twice; i++) {
            put(stuffed[i % stuffed_bytes]);
            if (one_in(200)) {
                poll_device();
            }
        }
        for (uint32_t polls = random_below(4); polls > 0; polls--) {
            poll_device();
        }
    }
    poll_device();
    ping();
    for (uint32_t polls = one_in(8) ? random_below(64) : 0; polls > 0; polls--) {
        poll_device();
    }
}

/* Commands, in whatever state the line is; the last of them may not end. */
static void type(const char *command)
{
    for (; *command != 0; command++) {
        put((uint8_t)*command);
        if (one_in(200)) {
            poll_device();
        }
    }
}

static void type_some(void)
{
    struct nrw_model model;
    const bool opens = nrw_open(&model, host.blob.bytes, host.blob.size) == NRW_OK;
    const uint32_t input = opens ? inputs_bytes(&model) : 1;
    if (one_in(8)) {
        put(0);
    }
    if (one_in(32)) {
        poll_device();
        app_port_pass_a_second();
        poll_device();
        if (text_silence()) {
            nrw_cobs_begin(&host.seen, host.sent, sizeof host.sent);
        }
    }
    for (uint32_t n = random_below(24); n > 0; n--) {
        const char *command = text_command(input);
        type(command + (one_in(16) ? random_below((uint32_t)strlen(command)) : 0));
        poll_device();
        REQUIRE(text_due() <= 1); /* an inference may go on */
        for (uint32_t polls = random_below(2000); polls > 0 && text_due() > 0; polls--) {
            poll_device();
        }
    }
}

/* More than the receive buffer holds, while the device does not look. */
static void flood(void)
{
    host.flooding = true;
    for (uint32_t n = NRW_RING_BYTES + random_below(2 * NRW_RING_BYTES); n > 0; n -= n > 300 ? 300 : n) {
        make_request();
        for (uint32_t i = 0; i < stuffed_bytes; i++) {
            put(stuffed[i]);
        }
    }
    poll_device();
    put(0);
    poll_device();
    host.flooding = false;
    nrw_cobs_begin(&host.seen, host.sent, sizeof host.sent);
    host.due_begin = host.due_end;
    text_put(0);
    /* Something in it may have been an infer, which this ends. */
    type("name%");
    poll_device();
    text_forget();
    ping();
}

/* --- A host with manners ------------------------------------------------------------------------ */

/* Returns whether the flash has taken all of it. */
static bool upload_once(void)
{
    uint8_t payload[PAYLOAD_BYTES];
    struct store_update update = {.bytes = host.blob.size, .name = "a network"};
    (void)ask(LINK_MODEL, NULL, 0);
    update.counter = host.counter = nrw_load32(host.fields + 8);
    sha256(update.hash, host.blob.bytes, host.blob.size);
    memcpy(payload, &update, sizeof update);
    REQUIRE(ask(LINK_BLOB_BEGIN, payload, sizeof update) == NRW_OK);
    for (uint32_t steps = host.blob.size; host.received < host.blob.size; steps--) {
        const uint32_t left = host.blob.size - host.received;
        const uint32_t bytes = left < LINK_DATA_BYTES ? left : LINK_DATA_BYTES;
        REQUIRE(steps > 0);
        memcpy(nrw_store32(payload, host.received), host.blob.bytes + host.received, bytes);
        const int status = ask(LINK_BLOB_DATA, payload, 4 + bytes);
        REQUIRE(status == NRW_OK || status == LINK_ERR_FLASH);
        if (status != NRW_OK) {
            return false;
        }
    }
    return true;
}

/* Hostile bytes may stand where the same upload has come before, which flash does not take others for. */
static void upload(void)
{
    REQUIRE(upload_once() || upload_once());
}

/* The same bytes for the same place, to compare two runs with. */
static int8_t pixel(int input, uint32_t row, uint32_t at)
{
    return (int8_t)(((uint32_t)input * 31 + row * 101 + at * 37) & 0xFFu);
}

/* Rows in and out of a run in this process, as the device is to give them. sum: of all outputs. */
static uint32_t expected(const struct blob *blob)
{
    struct nrw_model model;
    struct nrw_run run;
    struct nrw_tensor_info info;
    const void *row;
    int output, index, status;
    uint32_t rows[256] = {0}, sum = 0;
    REQUIRE(nrw_open(&model, blob->bytes, blob->size) == NRW_OK);
    uint8_t *zeros = calloc(1, nrw_memory_bytes(&model));
    uint8_t *memory = hostile_copy(zeros, nrw_memory_bytes(&model));
    REQUIRE(nrw_start(&run, &model, memory, nrw_memory_bytes(&model)) == NRW_OK);
    while ((status = nrw_step(&run)) != NRW_DONE) {
        REQUIRE(status >= 0);
        if (status == NRW_NEED_ROW) {
            const int input = nrw_wanted_input(&run);
            const uint32_t due = nrw_due_bytes(&run);
            REQUIRE(nrw_input_info(&model, input, &info) == NRW_OK);
            for (uint32_t i = 0; i < due; i++) {
                const uint32_t at = rows[input] + i;
                ((int8_t *)nrw_row_slot(&run))[i] = pixel(input, at / info.row_bytes, at % info.row_bytes);
            }
            rows[input] += due;
            REQUIRE(nrw_push_slot(&run) == NRW_OK);
        } else if (status == NRW_HAVE_ROW) {
            REQUIRE(nrw_take_row(&run, &row, &output, &index) == NRW_OK);
            REQUIRE(nrw_output_info(&model, output, &info) == NRW_OK);
            sum += nrw_crc32((const uint8_t *)row, info.row_bytes);
        }
    }
    for (int i = 0; i < model.output_count; i++) {
        const int8_t *bytes = nrw_output(&run, i);
        REQUIRE(nrw_output_info(&model, i, &info) == NRW_OK);
        if (i == 0) {
            host.score_count = bytes == NULL ? 0 : info.height * info.row_bytes;
            host.scores = realloc(host.scores, (host.score_count + 1) * sizeof *host.scores);
            for (uint32_t k = 0; k < host.score_count; k++) {
                host.scores[k] = bytes[k] - info.zero_point;
            }
        }
        sum += bytes == NULL ? 0 : nrw_crc32((const uint8_t *)bytes, info.height * info.row_bytes);
    }
    free(memory);
    free(zeros);
    return sum;
}

/* CRC-32 of bytes of an output of the device. */
static uint32_t read_output(uint32_t output, uint32_t begin, uint32_t bytes)
{
    uint8_t payload[PAYLOAD_BYTES];
    uint8_t *whole = malloc(bytes);
    for (uint32_t at = 0; at < bytes; at += LINK_DATA_BYTES) {
        const uint32_t count = bytes - at < LINK_DATA_BYTES ? bytes - at : LINK_DATA_BYTES;
        payload[4] = (uint8_t)output;
        nrw_store16(nrw_store32(nrw_store32(payload, host.run) + 1, begin + at), count);
        REQUIRE(ask(LINK_OUTPUT, payload, 11) == NRW_OK);
        memcpy(whole + at, host.fields + 4, count);
    }
    const uint32_t sum = nrw_crc32(whole, bytes);
    free(whole);
    return sum;
}

static void send_row(const struct nrw_model *model)
{
    uint8_t payload[PAYLOAD_BYTES];
    struct nrw_tensor_info info;
    REQUIRE(nrw_input_info(model, host.index, &info) == NRW_OK);
    const uint32_t left = info.row_bytes - host.done;
    const uint32_t count = left < LINK_DATA_BYTES ? left : LINK_DATA_BYTES;
    uint8_t *at = nrw_store32(payload, host.run);
    at = nrw_store32(nrw_store16(byte(at, host.index), host.row), host.done);
    for (uint32_t i = 0; i < count; i++) {
        at = byte(at, (uint8_t)pixel(host.index, host.row, host.done + i));
    }
    REQUIRE(ask(LINK_ROW, payload, 11 + count) == NRW_OK);
}

/* All inputs at once, one behind the other; before the run or while it computes. */
static void send_inputs(const struct nrw_model *model)
{
    struct nrw_tensor_info info;
    uint32_t start = 0;
    for (int i = 0; i < model->input_count; i++) {
        REQUIRE(nrw_input_info(model, i, &info) == NRW_OK);
        const uint32_t bytes = info.height * info.row_bytes;
        for (uint32_t at = 0; at < bytes;) {
            uint8_t payload[PAYLOAD_BYTES];
            const uint32_t left = bytes - at < LINK_DATA_BYTES ? bytes - at : LINK_DATA_BYTES;
            const uint32_t count = 1 + random_below(left);
            uint8_t *end = nrw_store32(nrw_store32(payload, SET), start + at);
            for (uint32_t k = at; k < at + count; k++) {
                end = byte(end, (uint8_t)pixel(i, k / info.row_bytes, k % info.row_bytes));
            }
            REQUIRE(ask(LINK_INPUT, payload, 8 + count) == NRW_OK);
            at += count;
        }
        start += bytes;
    }
    REQUIRE(host.held == start);
}

/* Whether the device's model is this blob: size and hash. */
static bool holds(const struct blob *blob)
{
    uint8_t hash[SHA256_BYTES];
    sha256(hash, blob->bytes, blob->size);
    return ask(LINK_MODEL, NULL, 0) == NRW_OK && nrw_load32(host.fields + 4) == blob->size &&
           memcmp(host.fields + 12, hash, sizeof hash) == 0;
}

/* Whatever has happened before: a whole upload and a whole run, and their right outputs. whole: the device
 * holds the inputs and takes its rows from them. */
static void infer(const struct blob *blob, bool whole)
{
    uint8_t payload[PAYLOAD_BYTES];
    struct nrw_model model;
    struct nrw_tensor_info info;
    uint32_t sum = 0, steps = 1u << 20;
    host.blob = *blob;
    upload();
    /* Hostile bytes may have come under this announcement; the device has dropped them now. */
    sha256(payload, blob->bytes, blob->size);
    if (ask(LINK_BLOB_END, payload, SHA256_BYTES) != NRW_OK) {
        upload();
        sha256(payload, blob->bytes, blob->size);
        REQUIRE(ask(LINK_BLOB_END, payload, SHA256_BYTES) == NRW_OK);
    }
    REQUIRE(holds(blob));
    REQUIRE(ask(LINK_RESET, NULL, 0) == NRW_OK);
    REQUIRE(nrw_open(&model, blob->bytes, blob->size) == NRW_OK);
    const bool early = one_in(2);
    if (whole && early) {
        send_inputs(&model);
    }
    uint8_t *at = byte(nrw_store32(payload, 1 + random_below(1u << 31)), random_below(2));
    nrw_store32(at, SET);
    REQUIRE(ask(whole ? LINK_INFER : LINK_START, payload, whole ? 9 : 5) == NRW_OK);
    if (whole && !early) {
        send_inputs(&model);
    }
    while (ask(LINK_STATE, NULL, 0) >= 0 && host.run_status != NRW_DONE) {
        REQUIRE(--steps > 0);
        if (host.run_status == NRW_NEED_ROW) {
            REQUIRE(!whole);
            send_row(&model);
        } else if (host.run_status == NRW_HAVE_ROW) {
            REQUIRE(nrw_output_info(&model, host.index, &info) == NRW_OK);
            sum += read_output(host.index, host.row * info.row_bytes, info.row_bytes);
            nrw_store16(byte(nrw_store32(payload, host.run), host.index), host.row);
            REQUIRE(ask(LINK_TAKE, payload, 7) == NRW_OK);
        }
    }
    for (int i = 0; i < model.output_count; i++) {
        nrw_store16(nrw_store32(byte(nrw_store32(payload, host.run), (uint32_t)i), 0), 0);
        if (ask(LINK_OUTPUT, payload, 11) == NRW_OK) {
            REQUIRE(nrw_output_info(&model, i, &info) == NRW_OK);
            sum += read_output((uint32_t)i, 0, info.height * info.row_bytes);
        }
    }
    REQUIRE(sum == expected(blob));
}

/* The same by commands, on the model that is there. Without metadata, the scores are whole steps. */
static void infer_by_commands(const struct blob *blob)
{
    static const char hex[] = "0123456789abcdef";
    char command[TEXT_MOST_BYTES];
    struct nrw_model model;
    struct nrw_tensor_info info;
    uint32_t steps = 1u << 20;
    REQUIRE(nrw_open(&model, blob->bytes, blob->size) == NRW_OK);
    REQUIRE(ask(LINK_RESET, NULL, 0) == NRW_OK);
    poll_device();
    REQUIRE(text_due() == 0);
    (void)sprintf(command, "db load %" PRIu32 "%%", inputs_bytes(&model));
    type(command);
    for (int i = 0; i < model.input_count; i++) {
        REQUIRE(nrw_input_info(&model, i, &info) == NRW_OK);
        for (uint32_t at = 0; at < info.height * info.row_bytes; at++) {
            const uint8_t value = (uint8_t)pixel(i, at / info.row_bytes, at % info.row_bytes);
            (void)sprintf(command, "db %c%c%%", hex[value >> 4], hex[value & 15]);
            type(command);
            poll_device();
            REQUIRE(text_due() == 0 && !text_failed());
        }
    }
    type("infer 2 1%");
    for (poll_device(); text_due() > 0; poll_device()) {
        REQUIRE(--steps > 0);
    }
    (void)expected(blob);
    REQUIRE(text_failed() == (host.score_count == 0));
    if (host.score_count > 0 && load_u32(blob->bytes + 64) == 0) {
        int32_t *scores = calloc(host.score_count, sizeof *scores);
        REQUIRE(text_scores(scores, host.score_count) == host.score_count);
        REQUIRE(memcmp(scores, host.scores, host.score_count * sizeof *scores) == 0);
        free(scores);
    }
}

/* --- Sessions ----------------------------------------------------------------------------------- */

/* A blob with some bytes changed and right checksums, whose runs do not take for ever. */
static struct blob spoiled(const struct blob *blob)
{
    struct nrw_model model;
    struct blob copy = {hostile_copy(blob->bytes, blob->size), blob->size};
    const uint32_t records = blob->size < 600 ? blob->size : 600;
    for (uint32_t n = 1 + random_below(3); n > 0; n--) {
        copy.bytes[12 + random_below(records - 12)] = (uint8_t)odd_value();
    }
    hostile_seal(copy.bytes, copy.size);
    const bool opens = nrw_open(&model, copy.bytes, copy.size) == NRW_OK;
    if (opens && (load_u32(copy.bytes + 52) > 0 ||
                  load_u32(copy.bytes + 48) > 4 * load_u32(blob->bytes + 48) + (1u << 20))) {
        memcpy(copy.bytes, blob->bytes, blob->size);
    }
    return copy;
}

/* Arenas of which the first has `spare` bytes more than a run of the blob takes with its profile;
 * fewer, if that is negative. */
static void make_arenas(const struct blob *blob, int32_t spare)
{
    struct nrw_model model;
    REQUIRE(nrw_open(&model, blob->bytes, blob->size) == NRW_OK);
    const int32_t run = (int32_t)nrw_memory_bytes(&model) + 4 * model.stage_count;
    const uint32_t bytes[PORT_ARENAS] = {
        run + spare > 0 ? (uint32_t)(run + spare) : 1, 64 * random_below(2)};
    REQUIRE(ask(LINK_RESET, NULL, 0) == NRW_OK);
    app_port_make_arenas(bytes);
}

/* Hostile rounds between two good runs; the first begins as the device is after a reset, or after
 * another session. */
static void session(const struct blob *blob, uint32_t rounds)
{
    struct blob other = spoiled(blob);
    host.blob = *blob;
    for (uint32_t n = 0; n < 20; n++) {
        burst();
    }
    struct nrw_model model;
    struct nrw_tensor_info info;
    REQUIRE(nrw_open(&model, blob->bytes, blob->size) == NRW_OK);
    REQUIRE(nrw_input_info(&model, 0, &info) == NRW_OK);
    host.row_bytes = info.row_bytes;
    make_arenas(blob, 0);
    infer(blob, false);
    make_arenas(blob, (int32_t)inputs_bytes(&model));
    infer(blob, true);
    infer_by_commands(blob);
    for (uint32_t round = 0; round < rounds; round++) {
        if (one_in(100)) {
            free(other.bytes);
            other = spoiled(blob);
            host.blob = one_in(4) ? other : *blob;
            if (one_in(2)) {
                upload();
            }
        }
        if (one_in(200)) {
            const uint32_t more = one_in(2) ? inputs_bytes(&model) : 0;
            make_arenas(blob, (int32_t)(random_below(256) + more) - 64);
        }
        app_port_flash_fails = one_in(16);
        burst();
        if (one_in(4)) {
            type_some();
        }
        app_port_flash_fails = false;
        if (one_in(32)) {
            flood();
        }
    }
    make_arenas(blob, 0);
    infer(blob, false);
    make_arenas(blob, (int32_t)inputs_bytes(&model));
    infer(blob, true);
    infer_by_commands(blob);
    free(other.bytes);
}

int main(int argc, char **argv)
{
    struct blob blobs[MOST_BLOBS];
    uint32_t most = 0;
    int count = 0;
    if (argc < 4 || argc > 3 + MOST_BLOBS) {
        fprintf(stderr, "usage: app ROUNDS SEED BLOB...\n");
        return 2;
    }
    const uint32_t rounds = (uint32_t)strtoul(argv[1], NULL, 10);
    state = (uint64_t)strtoul(argv[2], NULL, 10) * 1000003u + 1;
    for (; count < argc - 3; count++) {
        size_t size;
        blobs[count].bytes = hostile_read(argv[3 + count], &size);
        blobs[count].size = (uint32_t)size;
        most = size > most ? (uint32_t)size : most;
    }
    nrw_cobs_begin(&host.line, host.heard, sizeof host.heard);
    nrw_cobs_begin(&host.seen, host.sent, sizeof host.sent);
    app_port_make_flash(most);
    server_begin();
    for (int i = 0; i < count; i++) {
        session(&blobs[i], rounds);
        free(blobs[i].bytes);
    }
    printf("%" PRIu64 " frames sent, %" PRIu64 " of them whole, %" PRIu64 " bytes, %" PRIu64
           " answers\n", host.frames, host.good, host.bytes, host.answers);
    for (uint32_t i = 0; i < KNOWN; i++) {
        printf("%02x: %" PRIu64 "\n", answers[i].type, host.successes[answers[i].type]);
        REQUIRE(host.successes[answers[i].type] > 0);
    }
    text_report();
    free(host.scores);
    return 0;
}
