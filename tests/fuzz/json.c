/* SPDX-License-Identifier: Apache-2.0 */
/* json ROUNDS SEED FILE...: what firmware/app/json.h finds of the first output's tensor_scale in each text,
 * a line each: "digits exponent", or "none". Then the same text, cut short everywhere and changed at random,
 * is read too, in memory of exact size for the sanitizers to watch. */
#include "json.h"
#include "hostile.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static bool look(const uint8_t *text, size_t size, struct json_number *number)
{
    uint8_t *copy = hostile_copy(text, size);
    struct json value = {(const char *)copy, (const char *)copy + size};
    const bool found = json_member(&value, "outputs") && json_first(&value) &&
                       json_member(&value, "tensor_scale") && json_number(value, number);

    REQUIRE(!found || number->digits <= 999999999);
    free(copy);
    return found;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: json ROUNDS SEED FILE...\n");
        return 2;
    }
    srand((unsigned)atoi(argv[2]));
    for (int i = 3; i < argc; i++) {
        struct json_number number;
        size_t size;
        uint8_t *text = hostile_read(argv[i], &size);
        if (look(text, size, &number)) {
            printf("%" PRIu32 " %" PRId32 "\n", number.digits, number.exponent);
        } else {
            printf("none\n");
        }
        for (size_t cut = 0; cut < size; cut++) {
            (void)look(text, cut, &number);
        }
        for (int round = 0; round < atoi(argv[1]); round++) {
            static const char marks[] = "{}[]\",:\\0e.-";
            uint8_t *place = text + (size_t)rand() % size;
            const uint8_t before = *place;
            *place = rand() % 2 ? (uint8_t)marks[(size_t)rand() % sizeof marks] : (uint8_t)rand();
            (void)look(text, size, &number);
            if (rand() % 8 != 0) {
                *place = before;
            }
        }
        free(text);
    }
    return 0;
}
