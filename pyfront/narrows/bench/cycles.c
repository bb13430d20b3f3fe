/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plugin for QEMU that estimates the cycles of a Cortex-M4.
 *
 * What an instruction takes stands in cortex_m4.h.
 *
 * QEMU tells when a block of instructions begins, and only that. The cost of a block's inside is
 * known when it is translated; what lies between two blocks (was the branch taken?) is charged when
 * the next one begins.
 *
 * Arguments:
 *   out=FILE       the result, written when QEMU ends in good order
 *   call=ADDRESS   count what is executed from this function's first instruction until it returns
 *                  behind the BL that has called it, with all that it calls; up to 8 times
 *   skip=ADDRESS   count nothing from this interrupt handler's first instruction until it returns,
 *                  and go on as if nothing had interrupted; up to 8 times
 * Without call= everything is counted, as one call. (An access to a device ends a block early,
 * whose rest QEMU then begins again: around such accesses too much is counted. The runtime makes
 * none.)
 *
 * The result has lines of decimal numbers, and ends with "end":
 *   call FUNCTION INSTRUCTIONS CYCLES     one call, in the order of the calls
 *   block ADDRESS INSTRUCTIONS CYCLES     all executions of a block; an address may come again
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cortex_m4.h"

/* --- QEMU's plugin interface --------------------------------------------------------------- */

/* As QEMU's manual documents it ("QEMU TCG Plugins"), as far as it is used here. Version 1 is that of
 * QEMU before 9.0; what is used of it is the same in version 2, but not in 3, QEMU 9.1's. */
#ifndef PLUGIN_VERSION
#define PLUGIN_VERSION 1
#endif

#define EXPORTED __attribute__((visibility("default")))

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info_t;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
#if PLUGIN_VERSION < 3
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
#else
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *code, size_t room);
#endif
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*callback)(uint64_t id,
                                                                       struct qemu_plugin_tb *tb));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
                                          void (*callback)(unsigned core, void *data),
                                          enum qemu_plugin_cb_flags flags, void *data);
void qemu_plugin_register_atexit_cb(uint64_t id, void (*callback)(uint64_t id, void *data),
                                    void *data);

EXPORTED extern int qemu_plugin_version;
EXPORTED int qemu_plugin_install(uint64_t id, const struct qemu_info_t *info, int count,
                                 char **arguments);

int qemu_plugin_version = PLUGIN_VERSION;

/* The bytes of an instruction, 2 or 4. */
static void get_code(const struct qemu_plugin_insn *insn, uint8_t code[4])
{
#if PLUGIN_VERSION < 3
    memcpy(code, qemu_plugin_insn_data(insn), qemu_plugin_insn_size(insn));
#else
    (void)qemu_plugin_insn_data(insn, code, 4);
#endif
}

/* --- Blocks -------------------------------------------------------------------------------- */

/* cycles: of one execution, without what follows from the block before. more: of all executions,
 * what did follow. */
struct block {
    struct block *next;
    uint32_t start, end;
    uint32_t instructions, cycles;
    uint64_t executions;
    int64_t more;
    struct cost first, last;
    bool is_entry;                   /* a function that is counted begins here */
    bool is_call;                    /* its last instruction calls one */
    bool is_handler;                 /* an interrupt handler that is skipped begins here */
    int deeper;                      /* its last instruction: 1 any call, -1 a return, 0 others */
};

struct call {
    uint32_t function;
    uint64_t instructions, cycles;
};

enum { MOST_FUNCTIONS = 8 };

static struct {
    FILE *out;
    uint32_t functions[MOST_FUNCTIONS], handlers[MOST_FUNCTIONS];
    int function_count, handler_count;
    struct block *blocks;
    struct block *before;            /* the block that was executed last */
    uint32_t return_to;              /* behind the BL that has called such a function last */
    bool is_inside;
    int depth;                       /* of calls since an interrupt, its handler counted; 0: none */
    const struct block *handling;    /* the block that was executed last since then */
    struct call *calls;
    size_t call_count;
} plugin;

static void *allocated(void *memory)
{
    if (memory == NULL) {
        fputs("cycles: no memory is left\n", stderr);
        exit(1);
    }
    return memory;
}

static void begin_call(uint32_t function)
{
    if ((plugin.call_count & (plugin.call_count - 1)) == 0) {
        const size_t room = plugin.call_count == 0 ? 1 : 2 * plugin.call_count;
        plugin.calls = allocated(realloc(plugin.calls, room * sizeof *plugin.calls));
    }
    plugin.calls[plugin.call_count++] = (struct call){.function = function};
    plugin.is_inside = true;
}

/* What lies between a block and the next: a refill behind a branch that was taken. */
static int between(const struct block *before, const struct block *now)
{
    if (before->end == now->start) {
        return adjacent(&before->last, &now->first);
    }
    if (before->last.refill == REFILL_KNOWN && now->first.is_wide && now->start % 4 != 0) {
        return REFILL_KNOWN + 1;
    }
    return (int)before->last.refill;
}

/* Whether a block belongs to an interrupt. The block before stays the one that was interrupted. A
 * handler's access to a device may end a block before its last instruction. */
static bool is_skipped(const struct block *now)
{
    const struct block *handling = plugin.handling;

    if (plugin.depth > 0) {
        const bool is_rest = now->start >= handling->start && now->start < handling->end;
        plugin.depth += is_rest ? 0 : handling->deeper;
    }
    if (plugin.depth == 0 && now->is_handler) {
        plugin.depth = 1;              /* from the program, or at once behind another interrupt */
    }
    plugin.handling = now;
    return plugin.depth > 0;
}

static void executed(unsigned core, void *argument)
{
    struct block *now = argument;
    struct block *before = plugin.before;

    (void)core;
    if (is_skipped(now)) {
        return;
    }
    if (before != NULL) {
        if (plugin.is_inside) {
            const int more = between(before, now);
            before->more += more;
            plugin.calls[plugin.call_count - 1].cycles += (uint64_t)(int64_t)more;
        }
        if (before->is_call) {
            plugin.return_to = before->end;
        }
    }
    if (!plugin.is_inside && now->is_entry) {
        begin_call(now->start);
    } else if (plugin.function_count > 0 && now->start == plugin.return_to) {
        plugin.is_inside = false;
    }
    if (plugin.is_inside) {
        struct call *call = &plugin.calls[plugin.call_count - 1];
        now->executions++;
        call->instructions += now->instructions;
        call->cycles += now->cycles;
    }
    plugin.before = now;
}

static bool is_one_of(const uint32_t *addresses, int count, uint32_t address)
{
    for (int i = 0; i < count; i++) {
        if (addresses[i] == address) {
            return true;
        }
    }
    return false;
}

static bool is_function(uint32_t address)
{
    return is_one_of(plugin.functions, plugin.function_count, address);
}

/* 1 for an instruction that calls: BL, BLX; -1 for one that returns: BX LR, POP and LDM with PC, and
 * LDR PC, [SP], #4. */
static int deeper(unsigned high, unsigned low, bool is_wide)
{
    if (is_wide) {
        const bool pops = high == 0xE8BD && (low & 0x8000) != 0;
        const bool loads = high == 0xF85D && low == 0xFB04;

        return (high & 0xF800) == 0xF000 && (low & 0xD000) == 0xD000 ? 1 : pops || loads ? -1 : 0;
    }
    return (high & 0xFF87) == 0x4780 ? 1 : high == 0x4770 || (high & 0xFF00) == 0xBD00 ? -1 : 0;
}

/* Where a BL goes; 0 for every other instruction. */
static uint32_t bl_target(uint32_t address, unsigned high, unsigned low)
{
    const uint32_t sign = bits(high, 10, 1);
    const uint32_t i1 = bits(low, 13, 1) ^ sign ^ 1u, i2 = bits(low, 11, 1) ^ sign ^ 1u;

    if ((high & 0xF800) != 0xF000 || (low & 0xD000) != 0xD000) {
        return 0;
    }
    return address + 4 + ((0u - sign) << 24 | i1 << 23 | i2 << 22 |
                          (uint32_t)bits(high, 0, 10) << 12 | (uint32_t)bits(low, 0, 11) << 1);
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
    struct block *block = allocated(calloc(1, sizeof *block));
    const size_t count = qemu_plugin_tb_n_insns(tb);

    (void)id;
    for (size_t i = 0; i < count; i++) {
        const struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint8_t code[4] = {0, 0, 0, 0};
        get_code(insn, code);
        const uint32_t address = (uint32_t)qemu_plugin_insn_vaddr(insn);
        const unsigned high = code[0] | (unsigned)code[1] << 8;
        const bool is_wide = qemu_plugin_insn_size(insn) == 4;
        const unsigned low = is_wide ? code[2] | (unsigned)code[3] << 8 : 0;
        struct cost cost = is_wide ? wide(high, low) : narrow(high);

        cost.is_wide = is_wide;
        block->cycles += cost.cycles;
        if (i == 0) {
            block->start = address;
            block->first = cost;
        } else {
            block->cycles += (uint32_t)adjacent(&block->last, &cost);
        }
        block->last = cost;
        block->end = address + (is_wide ? 4 : 2);
        block->is_call = is_function(bl_target(address, high, low));
        block->deeper = deeper(high, low, is_wide);
    }
    block->instructions = (uint32_t)count;
    block->is_entry = plugin.function_count == 0 || is_function(block->start);
    block->is_handler = is_one_of(plugin.handlers, plugin.handler_count, block->start);
    block->next = plugin.blocks;
    plugin.blocks = block;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, QEMU_PLUGIN_CB_NO_REGS, block);
}

/* --- Beginning and end --------------------------------------------------------------------- */

static void ended(uint64_t id, void *argument)
{
    (void)id;
    (void)argument;
    for (size_t i = 0; i < plugin.call_count; i++) {
        const struct call *call = &plugin.calls[i];
        fprintf(plugin.out, "call %" PRIu32 " %" PRIu64 " %" PRIu64 "\n", call->function,
                call->instructions, call->cycles);
    }
    for (const struct block *block = plugin.blocks; block != NULL; block = block->next) {
        const uint64_t cycles = block->cycles * block->executions + (uint64_t)block->more;
        if (block->executions > 0) {
            fprintf(plugin.out, "block %" PRIu32 " %" PRIu64 " %" PRIu64 "\n", block->start,
                    block->instructions * block->executions, cycles);
        }
    }
    fputs("end\n", plugin.out);
    fclose(plugin.out);
}

int qemu_plugin_install(uint64_t id, const struct qemu_info_t *info, int count, char **arguments)
{
    (void)info;
    for (int i = 0; i < count; i++) {
        if (strncmp(arguments[i], "out=", 4) == 0) {
            plugin.out = fopen(arguments[i] + 4, "w");
        } else if (strncmp(arguments[i], "call=", 5) == 0 &&
                   plugin.function_count < MOST_FUNCTIONS) {
            plugin.functions[plugin.function_count++] =
                (uint32_t)strtoul(arguments[i] + 5, NULL, 0);
        } else if (strncmp(arguments[i], "skip=", 5) == 0 &&
                   plugin.handler_count < MOST_FUNCTIONS) {
            plugin.handlers[plugin.handler_count++] =
                (uint32_t)strtoul(arguments[i] + 5, NULL, 0);
        } else {
            fprintf(stderr, "cycles: %s: not understood\n", arguments[i]);
            return -1;
        }
    }
    if (plugin.out == NULL) {
        fputs("cycles: out= names no file that can be written\n", stderr);
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
