/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L
#include "model.h"

#include <sys/mman.h>
#include <unistd.h>

#include "port.h"
#include "registers.h"

long enabled_interrupt = -1;
static uint32_t violations, random_state;

uint32_t reg_read(uintptr_t address)
{
    return model_read(address);
}

void reg_write(uintptr_t address, uint32_t value)
{
    model_write(address, value, 4);
}

void reg_write16(uintptr_t address, uint16_t value)
{
    model_write(address, value, 2);
}

uint8_t reg_read8(uintptr_t address)
{
    return (uint8_t)(model_read(address & ~(uintptr_t)3) >> address % 4 * 8);
}

void reg_write8(uintptr_t address, uint8_t value)
{
    model_write(address, value, 1);
}

void violation(const char *what, uint32_t value)
{
    violations++;
    fprintf(stderr, "forbidden: %s (0x%lX)\n", what, (unsigned long)value);
}

int main(void)
{
    const char *chosen = getenv("SEED");

    /* Spread, so that the first numbers of neighbouring seeds differ. */
    random_state = (chosen != NULL ? (uint32_t)strtoul(chosen, NULL, 10) : 0) * 0x9E3779B1u;
    (void)drawn(1);
    test();
    return violations == 0 ? 0 : 1;
}

uint32_t drawn(uint32_t below)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % below;
}

uint8_t *map_memory(uintptr_t base, uint32_t bytes, bool may_write)
{
    FILE *file = tmpfile();
    const int access = may_write ? PROT_READ | PROT_WRITE : PROT_READ;

    REQUIRE(file != NULL && ftruncate(fileno(file), (off_t)bytes) == 0);
    void *fixed = mmap((void *)base, bytes, access, MAP_SHARED, fileno(file), 0);
    REQUIRE(fixed == (void *)base);
    uint8_t *view = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
    REQUIRE(view != MAP_FAILED);
    return view;
}

void port_enable_interrupt(uint32_t number)
{
    enabled_interrupt = (long)number;
}
