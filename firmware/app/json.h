/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks up values in a JSON text (RFC 8259) that may come from anywhere: nothing outside the text is
 * read, and its nesting costs no stack. What is no JSON may be taken for some.
 */
#ifndef NARROWS_JSON_H
#define NARROWS_JSON_H

#include <stdbool.h>
#include <stdint.h>

/* A value, from its first byte on; behind it the text may go on until `end`. */
struct json {
    const char *at, *end;
};

/* Go from an object to the value of its first member of this name. A name with escape sequences is equal to
 * none. Returns false if the value is no object, or has no such member. */
bool json_member(struct json *value, const char *name);

/* Go from an array to its first element. */
bool json_first(struct json *value);

/* digits * 10^exponent */
struct json_number {
    uint32_t digits;          /* the first nine that count */
    int32_t exponent;
};

/* A number that is not negative. */
bool json_number(struct json value, struct json_number *number);

#endif
