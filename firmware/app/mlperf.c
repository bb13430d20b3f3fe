/* SPDX-License-Identifier: Apache-2.0 */
#include "mlperf.h"

#include "board.h"
#include "json.h"
#include "port.h"
#include "print.h"
#include "requests.h"

enum {
    END = '%',
    LINE_BYTES = 80,                 /* of a command; the runner's longest has 65 */
    PRINTED_BYTES = 8,               /* of the input in a line of db print */
    DEFAULT_WARMUPS = 10,            /* of an infer that names none */
    OUR_SET = 0x4D4C5054,            /* the numbers that inputs and runs of commands go by */
    OUR_RUN = 0x4D4C5054
};

static struct {
    bool text;                       /* outside a frame: what comes is text */
    bool counting;                   /* the warm-ups are over */
    uint32_t count;                  /* bytes of the command so far, in server.frame; may be too many */
    uint32_t heard_at;               /* ticks at the last byte of a frame */
    uint32_t expected;               /* bytes of the input, as db load said */
    uint32_t left;                   /* inferences until the warm-ups, or all, are over; 0: none goes on */
    uint32_t inferences;             /* that come behind the warm-ups */
} mlperf;

/* --- Printing -------------------------------------------------------------------------------- */

static void print_error(const char *text)
{
    print("e-[");
    print(text);
    print("]\r\n");
}

static void print_ready(void)
{
    print("m-ready\r\n");
}

static void print_timestamp(void)
{
    const uint32_t hz = port_timer_hz();
    uint64_t seconds = port_ticks();
    uint64_t micros = (uint64_t)divide(&seconds, hz) * 1000000;

    divide(&micros, hz);
    print("m-lap-us-");
    if (seconds > 0) {
        print_digits((uint32_t)seconds, 1);
    }
    print_digits((uint32_t)micros, seconds > 0 ? 6 : 1);
    print("\r\n");
}

/* --- The model ------------------------------------------------------------------------------- */

/* The data sets of MLPerf Tiny are told by the size of an input. */
static const struct benchmark {
    uint32_t input_bytes;
    const char *name;
    uint8_t flip;                    /* makes the data's bytes those of the model's int8 */
} benchmarks[] = {
    {49 * 10, "kws01", 0},           /* int8 already */
    {32 * 32 * 3, "ic01", 0x80},     /* uint8, zero point 0 instead of -128 */
    {96 * 96 * 3, "vww01", 0x80},
};

static const struct benchmark *benchmark(void)
{
    const uint32_t bytes = inputs_bytes(server_model.input_count);

    for (uint32_t i = 0; i < sizeof benchmarks / sizeof benchmarks[0]; i++) {
        if (benchmarks[i].input_bytes == bytes) {
            return &benchmarks[i];
        }
    }
    return NULL;
}

static uint8_t flip(void)
{
    return benchmark() != NULL ? benchmark()->flip : 0;
}

/* The scale of output 0; 1 if the blob has no metadata that tell. */
static struct json_number output_scale(void)
{
    const uint8_t *blob = server_model.blob;
    const char *text = (const char *)blob + nrw_load32(blob + 60);
    struct json value = {text, text + nrw_load32(blob + 64)};
    struct json_number scale;

    if (json_member(&value, "outputs") && json_first(&value) &&
        json_member(&value, "tensor_scale") && json_number(value, &scale) && scale.digits > 0) {
        return scale;
    }
    return (struct json_number){1, 0};
}

static void print_results(void)
{
    struct nrw_tensor_info info;

    if (server.run_id != OUR_RUN || server.run_status != NRW_DONE ||
        nrw_output_info(&server_model, 0, &info) != NRW_OK) {
        print_error("No results: load an input and infer");
        return;
    }
    const int8_t *scores = nrw_output(&server_run, 0);
    if (scores == NULL) {
        print_error("No results: the output comes by rows");
        return;
    }
    const struct json_number scale = output_scale();
    const int32_t decimals = decimals_for(scale);
    print("m-results-[");
    for (uint32_t i = 0; i < info.height * info.row_bytes; i++) {
        port_watchdog_feed();
        print(i > 0 ? "," : "");
        print_scaled(scores[i] - info.zero_point, scale, decimals);
    }
    print("]\r\n");
}

/* --- Inferences ------------------------------------------------------------------------------ */

/* End an infer that goes on, and its answer. */
static void give_up(const char *reason)
{
    mlperf.left = 0;
    if (server.run_id == OUR_RUN) {
        run_end();
    }
    print_error(reason);
    print_ready();
}

static void begin_inference(void)
{
    run_end();
    if (run_begin(OUR_RUN, 0) != NRW_OK) {
        give_up("The model does not start");
    }
}

static void begin_counting(void)
{
    mlperf.counting = true;
    mlperf.left = mlperf.inferences;
    print("m-warmup-done\r\n");
    print_line("m-infer-start-", mlperf.inferences, "");
    print_timestamp();
}

static void end_counting(void)
{
    print_timestamp();
    print("m-infer-done\r\n");
    print_results();
    print_ready();
}

static void inference_done(void)
{
    mlperf.left--;
    if (mlperf.left == 0 && mlperf.counting) {
        end_counting();
        return;
    }
    if (mlperf.left == 0) {
        begin_counting();
    }
    begin_inference();
}

/* --- Commands -------------------------------------------------------------------------------- */

/* Text of a command that has not been read yet. */
struct text {
    uint8_t *at, *end;
};

static bool is_letter(uint8_t byte)
{
    return (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z';
}

/* The next word. Whatever is not printed stands between words, so that people may type commands in
 * lines. */
static struct text next_word(struct text *text)
{
    struct text word;

    while (text->at < text->end && *text->at <= ' ') {
        text->at++;
    }
    word = *text;
    while (text->at < text->end && *text->at > ' ') {
        text->at++;
    }
    word.end = text->at;
    return word;
}

static bool is_word(struct text word, const char *name)
{
    while (word.at < word.end && *name != 0 && *word.at == (uint8_t)*name) {
        word.at++;
        name++;
    }
    return word.at == word.end && *name == 0;
}

/* The next word as a number, or what it is if there is none. Returns false for a word that is no number. */
static bool next_number(struct text *text, uint32_t otherwise, uint32_t *number)
{
    struct text word = next_word(text);

    *number = word.at == word.end ? otherwise : 0;
    for (; word.at < word.end; word.at++) {
        const uint32_t digit = (uint32_t)(*word.at - '0');
        if (digit > 9 || *number > (UINT32_MAX - digit) / 10) {
            return false;
        }
        *number = 10 * *number + digit;
    }
    return true;
}

/* The value of a hexadecimal digit; 16 of anything else. */
static uint8_t hex_value(uint8_t digit)
{
    const uint8_t letter = (uint8_t)((digit | 0x20) - 'a');

    if (digit >= '0' && digit <= '9') {
        return (uint8_t)(digit - '0');
    }
    return letter < 6 ? (uint8_t)(10 + letter) : 16;
}

static void on_db_load(struct text *text)
{
    const uint32_t most = inputs_bytes(server_model.input_count);

    if (server.model_status != NRW_OK) {
        print_error("No model that could run");
        return;
    }
    if (!next_number(text, 0, &mlperf.expected) || mlperf.expected == 0 || mlperf.expected > most) {
        mlperf.expected = 0;
        print_line("e-[db load wants a number of bytes from 1 to ", most, "]");
        return;
    }
    server.held_set = 0;
    if (hold_inputs(OUR_SET, 0, server.frame, 0) != NRW_OK) {
        print_line("e-[No room beside the arena for ", most, " bytes of inputs]");
        return;
    }
    print_line("m-[Expecting ", mlperf.expected, " bytes]");
}

/* Bytes of the input, from where the last ones ended. All of them are right, or none is taken. */
static void on_db_hex(struct text word)
{
    uint8_t *bytes = word.at;        /* each stands where its digits have stood */
    const uint32_t count = (uint32_t)(word.end - word.at) / 2;
    const uint8_t flipped = flip();

    if (server.held_set != OUR_SET || server.held_received >= mlperf.expected) {
        print_error("No bytes are expected: db load comes first");
        return;
    }
    if ((word.end - word.at) % 2 != 0) {
        print_error("An odd number of hexadecimal digits");
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t high = hex_value(word.at[2 * i]), low = hex_value(word.at[2 * i + 1]);
        if (high > 15 || low > 15) {
            print_error("No hexadecimal digits");
            return;
        }
        bytes[i] = (uint8_t)((high << 4 | low) ^ flipped);
    }
    const uint32_t left = mlperf.expected - server.held_received;
    if (hold_inputs(OUR_SET, server.held_received, bytes, count < left ? count : left) != NRW_OK) {
        print_error("No room for these bytes");
    } else if (server.held_received == mlperf.expected) {
        print("m-load-done\r\n");
    }
}

static void on_db_print(void)
{
    const uint8_t *bytes = held_inputs();
    const uint32_t count = bytes != NULL && server.held_set == OUR_SET ? server.held_received : 0;
    const uint8_t flipped = flip();

    for (uint32_t i = 0; i < count; i++) {
        port_watchdog_feed();
        print(i % PRINTED_BYTES == 0 ? "m-buffer-" : "-");
        print_hex(bytes[i] ^ flipped);
        print((i + 1) % PRINTED_BYTES == 0 || i + 1 == count ? "\r\n" : "");
    }
}

static void on_db(struct text *text)
{
    const struct text word = next_word(text);

    if (word.at == word.end) {
        print_error("db wants load, print or hexadecimal digits");
    } else if (is_word(word, "load")) {
        on_db_load(text);
    } else if (is_word(word, "print")) {
        on_db_print();
    } else {
        on_db_hex(word);
    }
}

/* The answer's end comes with that of the last inference. Returns whether it is due at once. */
static bool on_mlperf_infer(struct text *text)
{
    const uint32_t all = inputs_bytes(server_model.input_count);
    uint32_t warmups;

    if (!next_number(text, 1, &mlperf.inferences) || mlperf.inferences == 0) {
        print_error("infer wants a number of inferences from 1 on");
        return true;
    }
    if (!next_number(text, DEFAULT_WARMUPS, &warmups)) {
        print_error("infer wants a number of warm-ups from 0 on");
        return true;
    }
    if (server.held_set != OUR_SET || server.held_received != all) {
        print_line("e-[An input of ", all, " bytes is not loaded]");
        return true;
    }
    print_line("m-warmup-start-", warmups, "");
    mlperf.counting = false;
    mlperf.left = warmups;
    if (warmups == 0) {
        begin_counting();
    }
    begin_inference();
    return false;
}

static void on_mlperf_profile(void)
{
    print("m-profile-[narrows " FIRMWARE_VERSION "]\r\nm-model-[");
    if (server.model_status != NRW_OK) {
        print("none");
    } else if (benchmark() != NULL) {
        print(benchmark()->name);
    } else {
        const char *name = server_store.update->name;
        for (uint32_t i = 0; i < STORE_NAME_BYTES && name[i] != 0; i++) {
            const uint8_t byte = (uint8_t)name[i];
            port_uart_send(byte < ' ' || byte == ']' || byte > '~' ? '_' : byte);
        }
    }
    print("]\r\n");
}

/* Returns whether the answer is whole. */
static bool answer(struct text text)
{
    const struct text word = next_word(&text);

    if (is_word(word, "name")) {
        print("m-name-dut-[" BOARD_NAME "]\r\n");
    } else if (is_word(word, "profile")) {
        on_mlperf_profile();
    } else if (is_word(word, "timestamp")) {
        print_timestamp();
    } else if (is_word(word, "db")) {
        on_db(&text);
    } else if (is_word(word, "infer")) {
        return on_mlperf_infer(&text);
    } else if (is_word(word, "results")) {
        print_results();
    } else if (is_word(word, "help")) {
        print("help%: these commands\r\n"
              "name%: what board this is\r\n"
              "profile%: what firmware and model it has\r\n"
              "timestamp%: microseconds since the start\r\n"
              "db load N%: an input of N bytes comes\r\n"
              "db HEX%: bytes of it\r\n"
              "db print%: those that have come\r\n"
              "infer N W%: compute N times, after W times that do not count; 1 and 10 if left out\r\n"
              "results%: the scores, once more\r\n");
    } else {
        print_error("Unknown command: help% lists those there are");
    }
    return true;
}

/* --- The line -------------------------------------------------------------------------------- */

void mlperf_begin(void)
{
    memset(&mlperf, 0, sizeof mlperf);
    mlperf.text = true;
}

bool mlperf_is_spoken(void)
{
    return mlperf.text;
}

static void keep(uint8_t byte)
{
    if (mlperf.count < LINE_BYTES) {
        server.frame[mlperf.count] = byte;
    }
    mlperf.count += mlperf.count <= LINE_BYTES;
}

/* Whether all that has come of a frame is one letter. */
static bool is_one_letter(void)
{
    const struct nrw_cobs *cobs = &server.cobs;

    return is_letter(cobs->code) && cobs->count == 0 && cobs->left + 1 == cobs->code;
}

/* What was taken for a frame is none. */
static void expect_text(void)
{
    const uint8_t first = is_one_letter() ? server.cobs.code : 0;

    nrw_cobs_begin(&server.cobs, server.frame, sizeof server.frame);
    mlperf.text = true;
    mlperf.count = 0;
    if (first != 0) {
        keep(first);
    }
}

static void end_command(void)
{
    const uint32_t count = mlperf.count;
    const struct text text = {server.frame, server.frame + count};

    mlperf.count = 0;
    if (mlperf.left > 0) {
        give_up("Ended by another command");
    }
    if (count > LINE_BYTES) {
        print_error("A command of more than 80 characters");
        print_ready();
    } else if (answer(text)) {
        print_ready();
    }
}

bool mlperf_take(uint8_t byte)
{
    if (byte == 0) {
        mlperf.text = false;
        mlperf.count = 0;
    } else if (!mlperf.text && is_one_letter() && is_letter(byte)) {
        expect_text();
    }
    if (!mlperf.text) {
        mlperf.heard_at = (uint32_t)port_ticks();
    } else if (byte == END) {
        end_command();
    } else {
        keep(byte);
    }
    return mlperf.text;
}

/* A frame whose end does not come is given up after half a second, so that commands come through. */
static bool waits_for_frame(void)
{
    if (mlperf.text || server.cobs.code == 0) {
        return false;
    }
    if (app_is_idle() && (uint32_t)port_ticks() - mlperf.heard_at >= port_timer_hz() / 2) {
        expect_text();
    }
    return true;
}

bool mlperf_poll(void)
{
    if (mlperf.left > 0 && server.run_id != OUR_RUN) {
        give_up("Ended by another request");
    } else if (mlperf.left > 0) {
        server.event_due = false;
        if (server.run_status == NRW_DONE) {
            inference_done();
        } else if (server.run_status == NRW_HAVE_ROW) {
            server.run_status = NRW_OK; /* nobody wants it */
        } else if (server.run_status != NRW_OK) {
            give_up("The inference has failed");
        }
    }
    return waits_for_frame();
}
