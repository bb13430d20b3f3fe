/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small firmware for a Pico that answers commands of one letter over UART0. It shows what the
 * emulator does, not what narrows does.
 */
#include <stdint.h>

#define REG(address) (*(volatile uint32_t *)(address))

#define RESETS_CLEAR (0x4000C000 + 0x3000)
#define RESETS_DONE 0x4000C008
#define CLOCK_REF 0x40008030
#define CLOCK_REF_SELECTED 0x40008038
#define CLOCK_PERI 0x40008048
#define CRYSTAL 0x40024000
#define WATCHDOG_TICK 0x4005802C
#define IO_BANK0 0x40014000
#define UART0 0x40034000
#define UART_DATA REG(UART0 + 0x00)
#define UART_FLAGS REG(UART0 + 0x18)
#define UART_IBRD REG(UART0 + 0x24)
#define UART_FBRD REG(UART0 + 0x28)
#define UART_LINE REG(UART0 + 0x2C)
#define UART_CONTROL REG(UART0 + 0x30)
#define UART_MASK REG(UART0 + 0x38)
#define TIMER_LOW REG(0x40054028)
#define NVIC_ENABLE REG(0xE000E100)
#define AIRCR REG(0xE000ED0C)

enum { RESET_IO = 1 << 5, RESET_PADS = 1 << 8, RESET_UART0 = 1 << 22 };
enum { RX_EMPTY = 1 << 4, TX_FULL = 1 << 5, RX_AND_TIMEOUT = 1 << 4 | 1 << 6, UART_IRQ = 20 };
enum { RING = 256, SLOT = 0x100000, SECTOR = 4096, PAGE = 256 };

extern uint32_t stack_top[], data_start[], data_end[], bss_start[], bss_end[];
extern const uint32_t data_image[], rp2040_boot2[];
extern const uint16_t rom_tables[]; /* the bootrom's: functions, data, and the look-up itself */

void reset(void);
void fault(void);
void uart(void);
void flash_write(const uint8_t *page);

static volatile uint8_t ring[RING];
static volatile uint32_t written, taken;
static uint32_t boot2_copy[64];
static volatile uint32_t canary = 0x600DF00D;

static void send(uint8_t byte)
{
    while (UART_FLAGS & TX_FULL) {
    }
    UART_DATA = byte;
}

static void send_word(uint32_t word)
{
    for (int i = 0; i < 4; i++) {
        send((uint8_t)(word >> (8 * i)));
    }
}

void uart(void)
{
    while (!(UART_FLAGS & RX_EMPTY)) {
        ring[written % RING] = (uint8_t)UART_DATA;
        written++;
    }
}

static uint8_t receive(void)
{
    for (;;) {
        __asm__ volatile("cpsid i" ::: "memory");
        if (taken != written) {
            break;
        }
        __asm__ volatile("wfi\n cpsie i" ::: "memory");
    }
    __asm__ volatile("cpsie i" ::: "memory");
    return ring[taken++ % RING];
}

static uint32_t receive_word(void)
{
    uint32_t word = 0;
    for (int i = 0; i < 4; i++) {
        word |= (uint32_t)receive() << (8 * i);
    }
    return word;
}

/* count times two instructions: the subtraction and the branch. */
static void spin(uint32_t count)
{
    __asm__ volatile(".syntax unified\n1: subs %0, #1\n bne 1b" : "+l"(count) : : "cc");
}

static void *rom(char a, char b)
{
    typedef void *function(uint32_t table, uint32_t code);
    function *const look_up = (function *)(uintptr_t)rom_tables[2];

    return look_up(rom_tables[0], (uint32_t)a | (uint32_t)b << 8);
}

static void (*connect)(void), (*exit_xip)(void), (*flush)(void);
static void (*erase)(uint32_t, uint32_t, uint32_t, uint32_t);
static void (*program)(uint32_t, const uint8_t *, uint32_t);

/* Nothing is in the flash while this runs. */
__attribute__((section(".ram_code"), noinline)) void flash_write(const uint8_t *page)
{
    connect();
    exit_xip();
    erase(SLOT, SECTOR, SECTOR, 0x20);
    program(SLOT, page, PAGE);
    program(SLOT + PAGE, page, PAGE);
    flush();
    ((void (*)(void))((uintptr_t)boot2_copy | 1))();
}

static void write_page(void)
{
    static uint8_t page[PAGE];

    for (int i = 0; i < PAGE; i++) {
        page[i] = receive();
    }
    for (int i = 0; i < 64; i++) {
        boot2_copy[i] = rp2040_boot2[i];
    }
    connect = (void (*)(void))rom('I', 'F');
    exit_xip = (void (*)(void))rom('E', 'X');
    flush = (void (*)(void))rom('F', 'C');
    erase = (void (*)(uint32_t, uint32_t, uint32_t, uint32_t))rom('R', 'E');
    program = (void (*)(uint32_t, const uint8_t *, uint32_t))rom('R', 'P');
    __asm__ volatile("cpsid i" ::: "memory");
    flash_write(page);
    __asm__ volatile("cpsie i" ::: "memory");
    for (uint32_t i = 0; i < 2 * PAGE; i++) {
        send(((const volatile uint8_t *)(0x10000000 + SLOT))[i]);
    }
}

static void answer(uint8_t command)
{
    uint32_t argument, began;

    switch (command) {
    case 'e': /* echo so many bytes */
        for (argument = receive_word(); argument > 0; argument--) {
            send(receive());
        }
        break;
    case 't': /* the timer's ticks of a loop */
        argument = receive_word();
        began = TIMER_LOW;
        spin(argument);
        send_word(TIMER_LOW - began);
        break;
    case 'd': /* deaf for so many turns of the loop, then how many bytes have arrived */
        argument = receive_word();
        __asm__ volatile("cpsid i" ::: "memory");
        spin(argument);
        __asm__ volatile("cpsie i" ::: "memory");
        spin(100);
        send_word(written - taken);
        taken = written;
        break;
    case 'r': /* read a word */
        send_word(REG(receive_word()));
        break;
    case 'w': /* write a word */
        argument = receive_word();
        REG(argument) = receive_word();
        send_word(argument);
        break;
    case 'f': /* what the flash holds after a page was written to it */
        write_page();
        break;
    case 'x':
        AIRCR = 0x05FA0004;
        break;
    default:
        send('?');
    }
}

void reset(void)
{
    const uint32_t *image = data_image;

    for (uint32_t *word = data_start; word < data_end; word++) {
        *word = *image++;
    }
    for (uint32_t *word = bss_start; word < bss_end; word++) {
        *word = 0;
    }
    REG(RESETS_CLEAR) = RESET_IO | RESET_PADS | RESET_UART0;
    while ((REG(RESETS_DONE) & RESET_UART0) == 0) {
    }
    /* Everything runs at the crystal's 12 MHz; the timer counts microseconds. */
    REG(CRYSTAL + 0x0C) = 47;
    REG(CRYSTAL) = 0xFAB << 12 | 0xAA0;
    while ((REG(CRYSTAL + 0x04) & 1u << 31) == 0) {
    }
    REG(CLOCK_REF) = 2;
    while ((REG(CLOCK_REF_SELECTED) & 1 << 2) == 0) {
    }
    REG(WATCHDOG_TICK) = 1 << 9 | 12;
    REG(CLOCK_PERI) = 1 << 11;
    REG(IO_BANK0 + 0x04) = 2; /* GPIO 0 and 1 are the UART's */
    REG(IO_BANK0 + 0x0C) = 2;
    UART_IBRD = 6; /* 12 MHz / (16 * 115200) = 6 + 33/64 */
    UART_FBRD = 33;
    UART_LINE = 3 << 5 | 1 << 4;
    UART_CONTROL = 1 << 9 | 1 << 8 | 1;
    UART_MASK = RX_AND_TIMEOUT;
    NVIC_ENABLE = 1u << UART_IRQ;
    send('!');
    send_word(canary);
    for (;;) {
        answer(receive());
    }
}

/* Where the fault was: the core has saved the address with seven other words. */
__attribute__((used)) static void report(const uint32_t *frame)
{
    send('F');
    send_word(frame[6]);
    for (;;) {
        __asm__ volatile("wfi");
    }
}

__attribute__((naked)) void fault(void)
{
    __asm__ volatile("mov r0, sp\n b report");
}

typedef void handler(void);

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    handler *core[15];
    handler *device[UART_IRQ + 1];
} vectors = {
    .stack = stack_top,
    .core = {reset, fault, fault},
    .device = {[UART_IRQ] = uart},
};
