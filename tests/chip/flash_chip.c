/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver of a flash memory over the model of its registers: every sector and every unit, errors
 * that pass, and what must be refused.
 */
#include <string.h>

#include "board.h"
#include "flash_model.h"
#include "port.h"

static const struct port_flash *flash;
static uint8_t *cells;
static uint8_t expected[BOARD_FLASH_BYTES];

/* What the driver's user sees, and what there is. */
static void check_area(uint32_t offset, uint32_t count)
{
    REQUIRE(memcmp(flash->base + offset, expected + offset, count) == 0);
    REQUIRE(memcmp(cells + offset, expected + offset, count) == 0);
    REQUIRE(model_is_at_rest());
}

static void erase(uint32_t offset)
{
    REQUIRE(flash->erase(offset));
    memset(expected + offset, 0xFF, flash->erase_bytes);
    check_area(offset, flash->erase_bytes);
}

static void draw_unit(uint8_t *unit)
{
    for (uint32_t i = 0; i < flash->program_bytes; i++) {
        unit[i] = (uint8_t)drawn(256);
    }
}

static void program(uint32_t offset)
{
    uint8_t unit[PORT_FLASH_MOST_UNIT];

    draw_unit(unit);
    REQUIRE(flash->program(offset, unit));
    memcpy(expected + offset, unit, flash->program_bytes);
    check_area(offset, flash->program_bytes);
}

static void check_refused(void)
{
    const uint32_t unit = flash->program_bytes, sector = flash->erase_bytes, bytes = flash->bytes;
    const uint32_t before = model_operations();
    const uint8_t zeros[PORT_FLASH_MOST_UNIT] = {0};

    REQUIRE(!flash->erase(bytes) && !flash->erase(0u - sector) && !flash->erase(0x80000000u));
    REQUIRE(!flash->erase(1) && !flash->erase(sector / 2) && !flash->erase(bytes - unit));
    REQUIRE(!flash->program(bytes, zeros) && !flash->program(0u - unit, zeros));
    REQUIRE(!flash->program(1, zeros) && !flash->program(unit / 2, zeros));
    REQUIRE(model_operations() == before);
    check_area(0, bytes);
}

static void check_failure(void)
{
    const uint32_t sector = drawn(flash->bytes / flash->erase_bytes) * flash->erase_bytes;
    uint8_t unit[PORT_FLASH_MOST_UNIT];

    draw_unit(unit);
    for (uint32_t i = 0; i < 10; i++) {
        model_fail_next();
        REQUIRE(!flash->erase(sector));
        REQUIRE(model_is_at_rest());
        erase(sector);
        model_fail_next();
        REQUIRE(!flash->program(sector, unit));
        REQUIRE(model_is_at_rest());
        erase(sector);
        program(sector + flash->erase_bytes - flash->program_bytes);
    }
    check_area(0, flash->bytes);
}

static void check_twice(void)
{
    uint8_t unit[PORT_FLASH_MOST_UNIT];

    memset(unit, 0x55, sizeof unit);
    erase(0);
    program(0);
    REQUIRE(!flash->program(0, unit));
    check_area(0, flash->bytes);
    program(flash->program_bytes);
}

void test(void)
{
    cells = model_begin();
    for (uint32_t i = 0; i < BOARD_FLASH_BYTES; i++) {
        expected[i] = cells[i] = (uint8_t)drawn(256);
    }
    flash = port_flash();
    REQUIRE(flash->base == (const uint8_t *)BOARD_FLASH_BASE && flash->bytes == BOARD_FLASH_BYTES);
    REQUIRE(flash->erase_bytes == model_erase_bytes && flash->program_bytes == model_unit);
    REQUIRE((uintptr_t)flash->base % 16 == 0 && flash->bytes % flash->erase_bytes == 0);
    REQUIRE(flash->erased == 0xFF && flash->program_bytes <= PORT_FLASH_MOST_UNIT);
    REQUIRE(port_flash() == flash);
    REQUIRE(memcmp(flash->base, expected, flash->bytes) == 0);
    for (uint32_t at = 0; at < flash->bytes; at += flash->erase_bytes) {
        erase(at);
    }
    check_area(0, flash->bytes);
    for (uint32_t at = 0; at < flash->bytes; at += flash->program_bytes) {
        program(at);
    }
    check_area(0, flash->bytes);
    check_refused();
    for (uint32_t i = 0; i < 50; i++) {
        const uint32_t sector = drawn(flash->bytes / flash->erase_bytes) * flash->erase_bytes;
        const uint32_t units = flash->erase_bytes / flash->program_bytes;
        erase(sector);
        program(sector + drawn(units) * flash->program_bytes);
    }
    check_area(0, flash->bytes);
    if (model_tells_failure) {
        check_failure();
    }
    if (model_tells_twice) {
        check_twice();
    }
}
