/* SPDX-License-Identifier: Apache-2.0 */
/* The arithmetic inside of ed25519.c, at limits that signatures do not lead it to: only one in 2^32
 * random numbers carries through a limb. A record of standard input is an operation and 64 bytes:
 * two numbers, one of 512 bits, or an encoded point. The answer is 32 bytes. */
#include <stdio.h>

#include "../../firmware/app/ed25519.c"

static void store(uint8_t bytes[32], const number *a)
{
    for (unsigned i = 0; i < 32; i++) {
        bytes[i] = (uint8_t)(a->limbs[8 * i / BITS] >> 8 * i % BITS);
    }
}

/* The result must be the same where an operand stood, which is where ed25519.c often puts it. */
static void operate(char operation, number *r, const number *a, const number *b)
{
    void (*const function)(number *, const number *, const number *) =
        operation == '+' ? add : operation == '-' ? subtract : multiply;
    number in_a = *a, in_b = *b;

    function(r, a, b);
    function(&in_a, &in_a, b);
    function(&in_b, a, &in_b);
    if (!is_equal(r, &in_a) || !is_equal(r, &in_b)) {
        memset(r, 0xFF, sizeof *r);
    }
}

/* The x of minus the point that 32 bytes encode; all bits set if they encode none. */
static number decoded_x(const uint8_t bytes[32])
{
    number temporaries[TEMPORARIES];
    point p;

    if (decode_minus(&p, bytes, temporaries)) {
        reduce(&p.x);
    } else {
        memset(&p.x, 0xFF, sizeof p.x);
    }
    return p.x;
}

int main(void)
{
    uint8_t record[65];

    while (fread(record, 1, sizeof record, stdin) == sizeof record) {
        number a, b, r;

        load(&a, record + 1);
        load(&b, record + 33);
        r = a;
        switch (record[0]) {
        case '+':
        case '-':
        case '*':
            operate((char)record[0], &r, &a, &b);
            break;
        case 'p':
            power(&r, &a, &b);
            break;
        case 'r': /* of what the arithmetic returns */
            reduce(&r);
            break;
        case '0':
            r = (number){{is_zero(&a)}};
            break;
        case 'L':
            load_reduced(&r, record + 1);
            break;
        case 'd':
            r = decoded_x(record + 1);
            break;
        case 's':
            (void)subtract_order(&r);
            break;
        default:
            return 2;
        }
        store(record, &r);
        fwrite(record, 1, 32, stdout);
    }
    return 0;
}
