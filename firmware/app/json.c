/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"

enum { MOST_DIGITS = 99999999, MOST_EXPONENT = 9999 };

static bool is(const struct json *text, char what)
{
    return text->at < text->end && *text->at == what;
}

static bool is_digit(const struct json *text)
{
    return text->at < text->end && *text->at >= '0' && *text->at <= '9';
}

static bool take(struct json *text, char what)
{
    if (!is(text, what)) {
        return false;
    }
    text->at++;
    return true;
}

static void pass_spaces(struct json *text)
{
    while (is(text, ' ') || is(text, '\t') || is(text, '\n') || is(text, '\r')) {
        text->at++;
    }
}

/* Pass a string, whose quotation mark is the next byte. */
static void pass_string(struct json *text)
{
    text->at++;
    while (text->at < text->end && !is(text, '"')) {
        text->at++;
        if (text->at[-1] == '\\' && text->at < text->end) {
            text->at++;
        }
    }
    take(text, '"');
}

/* Pass a value, up to the comma or bracket behind it. */
static void pass_value(struct json *text)
{
    uint32_t depth = 0;

    while (text->at < text->end) {
        const bool closes = is(text, '}') || is(text, ']');

        if (depth == 0 && (closes || is(text, ','))) {
            return;
        }
        if (is(text, '"')) {
            pass_string(text);
            continue;
        }
        depth += is(text, '{') || is(text, '[');
        depth -= closes;
        text->at++;
    }
}

/* Pass a string. Returns whether it is the name. */
static bool pass_name(struct json *text, const char *name)
{
    const char *from = text->at + 1;

    pass_string(text);
    while (*name != 0 && from < text->at && *from == *name) {
        from++;
        name++;
    }
    return *name == 0 && from + 1 == text->at;
}

bool json_member(struct json *value, const char *name)
{
    struct json text = *value;

    pass_spaces(&text);
    if (!take(&text, '{')) {
        return false;
    }
    do {
        pass_spaces(&text);
        if (!is(&text, '"')) {
            return false;
        }
        const bool found = pass_name(&text, name);
        pass_spaces(&text);
        if (!take(&text, ':')) {
            return false;
        }
        pass_spaces(&text);
        if (found) {
            *value = text;
            return true;
        }
        pass_value(&text);
    } while (take(&text, ','));
    return false;
}

bool json_first(struct json *value)
{
    pass_spaces(value);
    const bool found = take(value, '[');
    pass_spaces(value);
    return found && !is(value, ']');
}

/* Take digits into a number: those that it has no room for move its exponent. */
static void take_digits(struct json *text, struct json_number *number, bool fraction)
{
    for (; is_digit(text); text->at++) {
        if (number->digits <= MOST_DIGITS) {
            number->digits = 10 * number->digits + (uint32_t)(*text->at - '0');
            number->exponent -= fraction;
        } else {
            number->exponent += !fraction;
        }
    }
}

bool json_number(struct json value, struct json_number *number)
{
    struct json_number power = {0};

    *number = (struct json_number){0};
    if (!is_digit(&value)) {
        return false;
    }
    take_digits(&value, number, false);
    if (take(&value, '.')) {
        take_digits(&value, number, true);
    }
    if (take(&value, 'e') || take(&value, 'E')) {
        const bool negative = take(&value, '-');
        take(&value, '+');
        take_digits(&value, &power, false);
        const int32_t by = power.digits > MOST_EXPONENT || power.exponent > 0 ? MOST_EXPONENT
                                                         : (int32_t)power.digits;
        number->exponent += negative ? -by : by;
    }
    return true;
}
