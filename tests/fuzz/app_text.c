/* SPDX-License-Identifier: Apache-2.0 */
#include "app_text.h"

#include "hostile.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 1 << 16 };

static struct {
    bool text;                  /* the device takes what comes for text */
    uint32_t since;             /* bytes since the last zero */
    uint8_t first;              /* of them */
    uint32_t commands, answers;
    bool error, failed;         /* in the answer that goes on; in the last that has ended */
    char line[LINE_BYTES];      /* from the device */
    uint32_t bytes;
    char results[LINE_BYTES];
    enum { NOTHING, LOADING, LOADED } input;
} text = {.text = true};

static struct {
    const char *begins;
    uint64_t times;
} lines[] = {
    {"m-ready", 0}, {"m-name-dut-[", 0}, {"m-profile-[", 0}, {"m-model-[", 0}, {"m-lap-us-", 0},
    {"m-[Expecting ", 0}, {"m-load-done", 0}, {"m-buffer-", 0}, {"m-warmup-start-", 0},
    {"m-warmup-done", 0}, {"m-infer-start-", 0}, {"m-infer-done", 0}, {"m-results-[", 0},
    {"e-[", 0}, {"help%: ", 0}, {"e-[Ended by another command]", 0},
    {"e-[Ended by another request]", 0}, {"e-[No results: the output", 0}, {"e-[No room", 0},
};
enum { KINDS = sizeof lines / sizeof lines[0] };

static bool is_letter(uint8_t byte)
{
    return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
}

bool text_put(uint8_t byte)
{
    if (byte == 0) {
        text.text = false;
        text.since = 0;
        return false;
    }
    if (!text.text && text.since < 2) {
        text.text = text.since == 1 && is_letter(text.first) && is_letter(byte);
        text.first = byte;
    }
    text.since++;
    text.commands += text.text && byte == '%';
    return text.text;
}

void text_was_reset(void)
{
    text.text = true;
    text_forget();
}

void text_forget(void)
{
    text.commands = text.answers;
}

bool text_silence(void)
{
    const bool begun = !text.text && text.since > 0;

    text.text = text.text || begun;
    return begun;
}

bool text_is_spoken(void)
{
    return text.text;
}

uint32_t text_due(void)
{
    return text.commands - text.answers;
}

static bool begins(const char *line, const char *with)
{
    return strncmp(line, with, strlen(with)) == 0;
}

static void hear_line(void)
{
    bool known = strstr(text.line, "%: ") != NULL;

    for (uint32_t i = 0; i < KINDS; i++) {
        if (begins(text.line, lines[i].begins)) {
            lines[i].times++;
            known = true;
        }
    }
    REQUIRE(known);
    if (begins(text.line, "e-[")) {
        REQUIRE(text.line[text.bytes - 1] == ']');
        text.error = true;
    }
    if (begins(text.line, "m-[Expecting ")) {
        text.input = LOADING;
    } else if (strcmp(text.line, "m-load-done") == 0) {
        text.input = LOADED;
    } else if (begins(text.line, "e-[No bytes are") || begins(text.line, "e-[An input of")) {
        text.input = NOTHING;
    }
    if (begins(text.line, "m-results-[")) {
        memcpy(text.results, text.line, sizeof text.line);
    }
    if (strcmp(text.line, "m-ready") == 0) {
        text.answers++;
        text.failed = text.error;
        text.error = false;
    }
}

void text_heard(uint8_t byte)
{
    if (byte != '\n') {
        REQUIRE((byte >= ' ' && byte <= '~') || byte == '\r');
        REQUIRE(text.bytes + 1 < LINE_BYTES);
        text.line[text.bytes++] = (char)byte;
        return;
    }
    REQUIRE(text.bytes > 0 && text.line[text.bytes - 1] == '\r');
    text.line[--text.bytes] = 0;
    hear_line();
    text.bytes = 0;
}

bool text_failed(void)
{
    return text.failed;
}

uint32_t text_scores(int32_t *scores, uint32_t most)
{
    const char *at = text.results + strlen("m-results-[");
    uint32_t count = 0;

    REQUIRE(begins(text.results, "m-results-["));
    for (; count < most; count++) {
        char *end;
        scores[count] = (int32_t)strtol(at, &end, 10);
        REQUIRE(end > at && begins(end, ".000"));
        at = end + strlen(".000");
        if (*at == ']') {
            return count + 1;
        }
        REQUIRE(*at++ == ',');
    }
    return 0;
}

static const char *number(uint32_t right)
{
    static const char *const odd[] = {
        "0", "1", "-1", "65536", "4294967295", "4294967296", "18446744073709551617", "1x", "x", ""};
    static char digits[16];

    if (random_below(4) == 0) {
        return odd[random_below(sizeof odd / sizeof odd[0])];
    }
    (void)snprintf(digits, sizeof digits, "%" PRIu32, right + random_below(2) * random_below(3));
    return digits;
}

/* Kinds of commands, of which one would bring the device further. */
enum kind { WORD, LOAD, HEX, INFER, GARBAGE, COMMAND_KINDS };

static enum kind useful_kind(void)
{
    return text.input == NOTHING ? LOAD : text.input == LOADING ? HEX : INFER;
}

const char *text_command(uint32_t input_bytes)
{
    static const char *const words[] = {
        "name", "profile", "timestamp", "help", "results", "db", "db print", "db load", "infer"};
    static char command[TEXT_MOST_BYTES];
    int bytes = 0;

    switch (random_below(4) ? useful_kind() : (enum kind)random_below(COMMAND_KINDS)) {
    case WORD:
        bytes = sprintf(command, "%s", words[random_below(sizeof words / sizeof words[0])]);
        break;
    case LOAD:
        bytes = sprintf(command, "db load %s", number(input_bytes));
        break;
    case HEX:
        bytes = sprintf(command, "db ");
        for (uint32_t n = random_below(37); n > 0; n--) {
            bytes += sprintf(command + bytes, "%02x", random_below(random_below(1000) ? 256 : 4096));
        }
        break;
    case INFER:
        bytes = sprintf(command, "infer %s", number(1 + random_below(3)));
        bytes += sprintf(command + bytes, " %s", number(random_below(2)));
        break;
    default:
        for (uint32_t n = random_below(random_below(2) ? 90 : TEXT_MOST_BYTES - 2); n > 0; n--) {
            command[bytes++] = (char)(1 + random_below(random_below(2) ? 255 : 126));
        }
        break;
    }
    command[bytes++] = '%';
    command[bytes] = 0;
    return command;
}

void text_report(void)
{
    for (uint32_t i = 0; i < KINDS; i++) {
        printf("%s: %" PRIu64 "\n", lines[i].begins, lines[i].times);
        REQUIRE(lines[i].times > 0);
    }
}
