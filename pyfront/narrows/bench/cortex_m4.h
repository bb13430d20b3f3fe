/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an instruction takes on a Cortex-M4.
 *
 * Each instruction is charged what Arm's Cortex-M4 Technical Reference Manual (DDI 0439) says in
 * table 3-1 and under "Load/store timings", with memory that never makes the core wait. What the
 * manual leaves open is chosen so:
 *
 *   - A taken branch refills the pipeline in P cycles, 1 to 3 by the manual. P is 1 where the
 *     target's address stands in the instruction, 2 if a 32-bit instruction stands there that is
 *     not at a multiple of 4, and 3 where the address comes from a register or from memory.
 *   - SDIV and UDIV take 2 to 12 cycles, by their operands, which a plugin does not see: 12.
 *   - MSR, MRS and CPS take 1 or 2: 2. Barriers, which wait for memory, take 1.
 *   - Addresses are taken to be aligned, and literals never to contend with fetches.
 *   - An instruction that an IT block skips is charged as if it were executed, unless it branches.
 */
#ifndef NARROWS_BENCH_CORTEX_M4_H
#define NARROWS_BENCH_CORTEX_M4_H

#include <stdbool.h>

enum kind {
    OTHER,
    DATA,           /* data processing: a load or store right behind it waits for its result */
    LOAD,           /* a single load, which a load or store behind it can overlap */
    STORE           /* a single store */
};

enum { PC = 15, SP = 13, REFILL_KNOWN = 1, REFILL_LATE = 3, MOST_DIVISION = 12 };

/* cycles: alone, without a refill of the pipeline. refill: if it branches; 0: it cannot. address,
 * writes: sets of registers, by bits: those that make the address of a load or store, those that it
 * loads or that data processing gives. */
struct cost {
    enum kind kind;
    unsigned cycles;
    unsigned refill;
    unsigned address;
    unsigned writes;
    bool is_wide;
    bool is_it;
};

static unsigned bits(unsigned value, unsigned first, unsigned count)
{
    return (value >> first) & ((1u << count) - 1u);
}

static unsigned population(unsigned value)
{
    unsigned count = 0;

    for (; value != 0; value &= value - 1u) {
        count++;
    }
    return count;
}

static struct cost other(unsigned cycles)
{
    return (struct cost){.kind = OTHER, .cycles = cycles};
}

static struct cost branch(unsigned refill)
{
    return (struct cost){.kind = OTHER, .cycles = 1, .refill = refill};
}

/* rd: where its result goes; 15: nowhere, as for a comparison. */
static struct cost data(unsigned cycles, unsigned rd)
{
    return (struct cost){.kind = DATA, .cycles = cycles, .writes = rd == PC ? 0 : 1u << rd};
}

/* A single load or store. An immediate store leaves at once into the write buffer. */
static struct cost single(bool load, bool by_register, unsigned address, unsigned rt)
{
    return (struct cost){
        .kind = load ? LOAD : STORE,
        .cycles = load || by_register ? 2 : 1,
        .refill = load && rt == PC ? REFILL_LATE : 0,
        .address = address & ~(1u << PC),
        .writes = load ? 1u << rt : 0,
    };
}

/* A load or store of several words. */
static struct cost several(unsigned words, unsigned rn, bool loads_pc)
{
    return (struct cost){
        .kind = OTHER,
        .cycles = 1 + words,
        .refill = loads_pc ? REFILL_LATE : 0,
        .address = rn == PC ? 0 : 1u << rn,
    };
}

/* 0xB000 to 0xBFFF. */
static struct cost narrow_miscellaneous(unsigned code)
{
    struct cost it = other(1);

    if (bits(code, 8, 4) == 0) {
        return data(1, SP);                                       /* ADD, SUB of SP */
    }
    if ((code & 0xF500) == 0xB100) {
        return branch(REFILL_KNOWN);                              /* CBZ, CBNZ */
    }
    if ((code & 0xFE00) == 0xB400) {
        return several(population(code & 0x1FF), SP, false);      /* PUSH */
    }
    if ((code & 0xFE00) == 0xBC00) {
        return several(population(code & 0x1FF), SP, bits(code, 8, 1) != 0);      /* POP */
    }
    if ((code & 0xFF00) == 0xB200 || (code & 0xFF00) == 0xBA00) {
        return data(1, bits(code, 0, 3));                         /* SXTB and its like, REV */
    }
    if ((code & 0xFFE0) == 0xB660) {
        return other(2);                                          /* CPS */
    }
    it.is_it = (code & 0xFF00) == 0xBF00 && bits(code, 0, 4) != 0;
    return it;
}

/* 0x4000 to 0x47FF: with registers, some of them among all 16. */
static struct cost narrow_registers(unsigned code)
{
    const unsigned rd = bits(code, 0, 3) | bits(code, 7, 1) << 3;
    const unsigned low = bits(code, 6, 4);

    if (code < 0x4400) {
        const bool compares = low == 8 || low == 10 || low == 11; /* TST, CMP, CMN */
        return data(1, compares ? PC : bits(code, 0, 3));
    }
    switch (bits(code, 8, 2)) {
    case 1:
        return data(1, PC);                                       /* CMP */
    case 3:
        return branch(REFILL_LATE);                               /* BX, BLX */
    default:
        return rd == PC ? branch(REFILL_LATE) : data(1, rd);      /* ADD, MOV */
    }
}

static struct cost narrow(unsigned code)
{
    const unsigned rn = 1u << bits(code, 3, 3), rt = bits(code, 0, 3), middle = bits(code, 8, 3);
    const bool loads = bits(code, 11, 1) != 0;

    switch (code >> 12) {
    case 0: case 1:
        return data(1, rt);                                       /* shifts, ADD, SUB */
    case 2: case 3:
        return data(1, bits(code, 11, 2) == 1 ? PC : middle);     /* MOV, CMP, ADD, SUB */
    case 4:
        return code < 0x4800 ? narrow_registers(code) : single(true, false, 0, middle);
    case 5:
        return single(bits(code, 9, 3) >= 3, true, rn | 1u << bits(code, 6, 3), rt);
    case 6: case 7: case 8:
        return single(loads, false, rn, rt);
    case 9:
        return single(loads, false, 1u << SP, middle);
    case 10:
        return data(1, middle);                                   /* ADR, ADD of SP */
    case 11:
        return narrow_miscellaneous(code);
    case 12:
        return several(population(code & 0xFF), middle, false);   /* LDM, STM */
    case 13:
        return bits(code, 8, 4) < 14 ? branch(REFILL_KNOWN) : other(1);
    default:
        return branch(REFILL_KNOWN);                              /* B */
    }
}

/* LDM, STM, LDRD, STRD, exclusives, TBB and TBH: high is 0xE800 to 0xE9FF. */
static struct cost wide_several(unsigned high, unsigned low)
{
    const unsigned rn = bits(high, 0, 4);
    const bool loads = bits(high, 4, 1) != 0;

    if (bits(high, 6, 1) == 0) {
        return several(population(low), rn, loads && bits(low, PC, 1) != 0);
    }
    if ((high & 0xFFF0) == 0xE8D0 && (low & 0xFFE0) == 0xF000) {
        /* A load, an addition and the refill. */
        struct cost table = several(2, rn, true);
        table.address |= 1u << bits(low, 0, 4);
        return table;
    }
    if ((high & 0xFFE0) == 0xE840 || (high & 0xFFE0) == 0xE8C0) {
        /* The manual: a STREX is treated more like a load. */
        return single(true, false, 1u << rn, bits(low, loads ? 12 : (high & 0x80) != 0 ? 0 : 8, 4));
    }
    return several(2, rn, false);
}

/* LDR, STR and their like: high is 0xF800 to 0xF9FF. */
static struct cost wide_single(unsigned high, unsigned low)
{
    const unsigned rn = bits(high, 0, 4);
    const bool by_register = bits(high, 7, 1) == 0 && rn != PC && bits(low, 6, 6) == 0;
    const unsigned address = 1u << rn | (by_register ? 1u << bits(low, 0, 4) : 0);
    struct cost cost = single(bits(high, 4, 1) != 0, by_register, address, bits(low, 12, 4));

    if (bits(high, 5, 2) != 2) {
        cost.refill = 0;                                          /* PLD and PLI name no register */
    }
    return cost;
}

/* Branches and what is written among them: high is 0xF000 to 0xF7FF, low from 0x8000 on. */
static struct cost wide_branch(unsigned high, unsigned low)
{
    if (bits(low, 12, 1) != 0 || bits(high, 6, 4) < 14) {
        return branch(REFILL_KNOWN);                              /* BL; B, with a condition */
    }
    if ((high & 0xFFE0) == 0xF3E0) {
        return data(2, bits(low, 8, 4));                          /* MRS */
    }
    return other((high & 0xFFE0) == 0xF380 ? 2 : 1);              /* MSR; barriers and hints */
}

/* Instructions of the floating-point unit. */
static struct cost wide_float(unsigned high, unsigned low)
{
    const unsigned operation = bits(high, 4, 4) & 0xBu;           /* without a register's bit */
    const unsigned rn = bits(high, 0, 4);
    const bool is_root = operation == 0xB && rn == 1 && bits(low, 6, 2) == 3;

    if ((high & 0xFF00) == 0xEE00) {
        if (bits(low, 4, 1) != 0) {
            return other(1);                                      /* VMOV, VMRS, VMSR */
        }
        if (operation == 8 || is_root) {
            return other(14);                                     /* VDIV, VSQRT */
        }
        /* VMLA, VFMA and their like, or other arithmetic. */
        return other(operation < 2 || operation == 9 || operation == 0xA ? 3 : 1);
    }
    if ((high & 0xFFE0) == 0xEC40) {
        return other(2);                                          /* VMOV of two words */
    }
    if (bits(high, 8, 1) != 0 && bits(high, 5, 1) == 0) {
        return several(bits(low, 8, 1) != 0 ? 2 : 1, rn, false);  /* VLDR, VSTR */
    }
    return several(bits(low, 0, 8), rn, false);                   /* VLDM, VSTM */
}

static struct cost wide(unsigned high, unsigned low)
{
    const unsigned rd = bits(low, 8, 4);

    if ((high & 0xFE00) == 0xE800) {
        return wide_several(high, low);
    }
    if ((high & 0xEC00) == 0xEC00) {
        return wide_float(high, low);
    }
    if ((high & 0xF800) == 0xF000 && (low & 0x8000) != 0) {
        return wide_branch(high, low);
    }
    if ((high & 0xFE00) == 0xF800) {
        return wide_single(high, low);
    }
    if ((high & 0xFF80) == 0xFB80) {                              /* SMULL, SMLAL, SDIV, UDIV */
        const bool divides = (low & 0xF0) == 0xF0 && (high & 0xFFD0) == 0xFB90;
        struct cost cost = data(divides ? MOST_DIVISION : 1, rd);
        cost.writes |= divides ? 0 : 1u << bits(low, 12, 4);
        return cost;
    }
    return data(1, rd);              /* arithmetic, logic, DSP and multiplications */
}

/* What an instruction costs more (or less, below 0) because of the one before it. */
static int adjacent(const struct cost *before, const struct cost *now)
{
    const bool can_overlap = now->kind == LOAD || (now->kind == STORE && now->cycles > 1);

    if (now->is_it && !before->is_wide) {
        return -1;                   /* IT is folded into a 16-bit instruction */
    }
    if (before->kind == DATA && (before->writes & now->address) != 0) {
        return 1;                    /* an address is not forwarded from the ALU */
    }
    if (before->kind == LOAD && can_overlap && (before->writes & now->address) == 0) {
        return -1;
    }
    return 0;
}

#endif
