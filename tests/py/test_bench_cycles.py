# SPDX-License-Identifier: Apache-2.0
"""The estimate of cycles: small programs whose cycles are counted by hand from the Cortex-M4
Technical Reference Manual, and instructions as QEMU itself counts them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from conftest import WARNINGS
from models import need
from narrows.bench import cycles
from narrows.bench.cycles import Cost, Counted, CyclePlugin, _interface
from narrows.link.image import load_functions

# What is measured is called once and stands at a multiple of 4, with r0 = address of a word in RAM
# that holds its own address, r4 = 0. The end is a reset, which QEMU takes as the end of the
# machine; its store stands alone in its page, so that QEMU executes it as a block of its own.
PROGRAM = """
    .syntax unified
    .cpu cortex-m4
    .fpu fpv4-sp-d16
    .thumb
    .word 0x20001000, reset + 1
    .type reset, %function
reset:
    ldr r0, =0x20000100
    str r0, [r0]
    movs r4, #0
{setup}
    bl measured
    ldr r0, =0xE000ED0C
    ldr r1, =0x05FA0004
    b ending
    .balign 4
    .type measured, %function
    .global measured
measured:
{body}
    .size measured, . - measured
    .pool
    .org 4094
ending:
    str r1, [r0]
    wfi
    b ending + 2
"""
FLOATS = """
    ldr r1, =0xE000ED88
    movs r2, #0xF
    lsls r2, #20
    str r2, [r1]
    dsb
    isb
"""
# Name -> (assembly whose comments count the cycles, instructions, cycles).
PROGRAMS = {
    "arithmetic loop": (
        """
        movs r1, #100           @ 1
    1:  subs r1, #1             @ 100 x 1
        bne 1b                  @ 99 x (1 + P), P = 1, and 1 where it is not taken
        bx lr                   @ 1 + P, P = 3
        """,
        1 + 200 + 1,
        1 + 100 + 99 * 2 + 1 + 4,
    ),
    "multiplications": (
        """
        muls r1, r1, r1         @ 1
        mla r1, r1, r1, r1      @ 1
        smull r1, r2, r1, r2    @ 1
        umlal r1, r2, r1, r3    @ 1
        smlad r1, r1, r2, r3    @ 1
        smmulr r1, r1, r2       @ 1
        sxtb16 r1, r2, ror #8   @ 1
        pkhbt r1, r1, r2        @ 1
        ssat r1, #8, r1         @ 1
        bx lr                   @ 1 + 3
        """,
        10,
        9 + 4,
    ),
    "single loads and stores": (
        """
        ldr r1, [r0]            @ 2
        ldr r2, [r0, #4]        @ 1: it overlaps the load before it
        ldrsb r3, [r0, r4]      @ 1
        str r1, [r0]            @ 1: an immediate store always takes 1
        ldr r1, [r0]            @ 2: nothing overlaps a store
        ldr r2, [r1]            @ 2: its address is what was just loaded
        strb r2, [r0, r4]       @ 1: 2, less one behind a load
        strb r2, [r0, r4]       @ 2
        adds r4, #0             @ 1
        ldrb r2, [r0, r4]       @ 3: 2, and one to wait for r4
        ldr.w r3, [r0], #4      @ 1
        mov r3, r2              @ 1
        ldr r5, =0x20000100     @ 2
        ldrex r6, [r5]          @ 2: its address was just loaded
        bx lr                   @ 1 + 3
        """,
        15,
        2 + 1 + 1 + 1 + 2 + 2 + 1 + 2 + 1 + 3 + 1 + 1 + 2 + 2 + 4,
    ),
    "loads of two words, and SMLAD": (
        """
        movs r1, #10            @ 1
    1:  ldrd r2, r3, [r0]       @ 10 x 3, for it overlaps with nothing
        ldrd r5, r6, [r0, #8]   @ 10 x 3
        smlad r7, r2, r5, r7    @ 10 x 1
        smlad r7, r3, r6, r7    @ 10 x 1
        subs r1, #1             @ 10 x 1
        bne 1b                  @ 9 x (1 + P), P = 2: LDRD is wide and not at a multiple of 4; 1
        bx lr                   @ 1 + 3
        """,
        1 + 60 + 1,
        1 + 10 * (3 + 3 + 1 + 1 + 1) + 9 * 3 + 1 + 4,
    ),
    "several words": (
        """
        push {r4, r5, r6, lr}   @ 1 + 4
        ldmia r0, {r1, r2, r3}  @ 1 + 3
        stmia r0!, {r1, r2}     @ 1 + 2
        ldmia.w r0, {r1, r5, r8, r9}    @ 1 + 4
        strd r1, r2, [r0]       @ 1 + 2
        ldr r1, [r0]            @ 2: STRD overlaps with nothing
        pop {r4, r5, r6, pc}    @ 1 + 4 + P, P = 3
        """,
        7,
        5 + 4 + 3 + 5 + 3 + 2 + 8,
    ),
    "branches": (
        """
        b 1f                    @ 1 + P, P = 1
        nop
    1:  cbz r4, 2f              @ 1 + 1
        nop
    2:  cbnz r4, 3f             @ 1: not taken
        beq.w 3f                @ 1 or 2, by the flags that MOVS r4 has left: taken
        nop
        .balign 4
        nop
    3:  add.w r1, r1, r2        @ (P was 2: the target is wide and not at a multiple of 4) 1
        mov r5, lr              @ 1
        bl 4f                   @ 1 + 1
        mov lr, r5              @ 1
        bx lr                   @ 1 + 3
    4:  bx lr                   @ 1 + 3
        """,
        10,
        2 + 2 + 1 + (1 + 2) + 1 + 1 + 2 + 4 + 1 + 4,
    ),
    "tables and loaded addresses": (
        """
        push {lr}               @ 1 + 1
        adr r1, 4f              @ 1
        adds r1, #1             @ 1: the address of Thumb's code has bit 0 set
        tbb [pc, r4]            @ 2 + 1 + 3
    1:  .byte (2f - 1b) / 2, 0
    2:  blx r1                  @ 1 + 3
        ldr.w pc, [sp], #4      @ 2 + 3
        .balign 4
    4:  bx lr                   @ 1 + 3
        """,
        7,
        2 + 1 + 1 + 6 + 4 + 4 + 5,
    ),
    "conditions": (
        """
        cmp r4, #0              @ 1
        ite eq                  @ 0: folded into the 16-bit instruction before it
        moveq r1, #1            @ 1
        movne r1, #2            @ 1, though it is skipped
        add.w r1, r1, #1        @ 1
        it eq                   @ 1: a 32-bit instruction before it folds nothing
        addeq r1, #1            @ 1
        cmp.w r4, #1            @ 1
        it eq                   @ 1
        bxeq lr                 @ 1: not taken
        bx lr                   @ 1 + 3
        """,
        11,
        1 + 0 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 4,
    ),
    "divisions and the system": (
        """
        movs r1, #7             @ 1
        udiv r2, r1, r1         @ 12, the most that it takes
        sdiv r2, r1, r1         @ 12
        mrs r3, primask         @ 2
        msr primask, r3         @ 2
        cpsie i                 @ 2
        clz r1, r2              @ 1
        bx lr                   @ 1 + 3
        """,
        8,
        1 + 12 + 12 + 2 + 2 + 2 + 1 + 4,
    ),
}


def assembled(folder: Path, body: str, setup: str = "") -> Path:
    """The program as an ELF file."""
    source, image = folder / "program.s", folder / "program.elf"
    source.write_text(PROGRAM.format(setup=setup, body=body))
    command = ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-nostdlib", "-Wl,-Ttext=0,-e,0"]
    subprocess.run([*command, "-o", image, source], check=True, timeout=600)
    return image


def executed(image: Path, folder: Path, calls: list[int]) -> tuple[Counted, int]:
    """Run a program to its reset. Returns: what the plugin has counted, and QEMU's own count of all
    instructions, which it keeps while it records."""
    with CyclePlugin(calls) as plugin:
        record = f"shift=0,rr=record,rrfile={folder / 'record'}"
        command = ["qemu-system-arm", "-M", "mps2-an386", "-display", "none", "-nodefaults"]
        command += ["-S", "-no-reboot", "-no-shutdown", "-qmp", "stdio", "-icount", record]
        command += ["-plugin", plugin.argument, "-kernel", str(image)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as qemu:

            def until(key: str, value: str = "") -> dict[str, object]:
                assert qemu.stdout is not None
                for line in qemu.stdout:
                    said: dict[str, object] = json.loads(line)
                    if key in said and (not value or said[key] == value):
                        return said
                raise AssertionError("QEMU has ended")

            def ask(command: str) -> object:
                assert qemu.stdin is not None
                qemu.stdin.write(json.dumps({"execute": command}) + "\n")
                qemu.stdin.flush()
                return until("return")["return"]

            ask("qmp_capabilities")
            ask("cont")
            until("event", "SHUTDOWN")
            replay = ask("query-replay")
            ask("quit")
            assert qemu.wait(timeout=600) == 0
        assert isinstance(replay, dict)
        return plugin.read(), int(replay["icount"])


@pytest.fixture(autouse=True)
def tools() -> None:
    need("arm-none-eabi-gcc", "qemu-system-arm", "cc")


@pytest.mark.parametrize("name", PROGRAMS)
def test_cycles_are_those_of_the_manual(name: str, tmp_path: Path) -> None:
    body, instructions, cycles = PROGRAMS[name]
    image = assembled(tmp_path, body)
    (measured,) = (f for f in load_functions(image) if f.name == "measured")
    counted, _ = executed(image, tmp_path, [measured.address])
    assert counted.calls == ((measured.address, Cost(instructions, cycles)),)
    assert counted.by_function(load_functions(image)) == {"measured": counted.total}


@pytest.mark.parametrize("name", PROGRAMS)
def test_instructions_are_those_that_qemu_counts(name: str, tmp_path: Path) -> None:
    """All that the program executes, from reset to its end."""
    counted, icount = executed(assembled(tmp_path, PROGRAMS[name][0]), tmp_path, [])
    assert counted.total.instructions == icount


def test_floats(tmp_path: Path) -> None:
    body = """
        vmov s0, r4             @ 1
        vldr s1, [r0]           @ 1 + 1
        vldmia r0, {s2-s5}      @ 1 + 4
        vadd.f32 s0, s0, s2     @ 1
        vmla.f32 s0, s1, s2     @ 3
        vfma.f32 s0, s1, s2     @ 3
        vmul.f32 s0, s1, s2     @ 1
        vdiv.f32 s0, s1, s2     @ 14
        vsqrt.f32 s0, s1        @ 14
        vcmp.f32 s0, s1         @ 1
        vmov r1, r2, s0, s1     @ 2
        bx lr                   @ 1 + 3
    """
    image = assembled(tmp_path, body, FLOATS)
    (measured,) = (f for f in load_functions(image) if f.name == "measured")
    counted, _ = executed(image, tmp_path, [measured.address])
    assert counted.total == Cost(12, 1 + 2 + 5 + 1 + 3 + 3 + 1 + 14 + 14 + 1 + 2 + 4)


def test_a_function_is_counted_with_what_it_calls_and_no_other(tmp_path: Path) -> None:
    """It may be called from several places, and go through its own first instruction again."""
    body = """
        subs r4, #1
        bpl measured
        push {lr}
        bl helper
        pop {pc}
        .type helper, %function
    helper:
        bx lr
    """
    setup = """
        movs r4, #2
        bl measured
        movs r4, #0
        bl helper
    """
    image = assembled(tmp_path, body, setup)
    functions = load_functions(image)
    address = {f.name: f.address for f in functions}
    counted, _ = executed(image, tmp_path, [address["measured"]])
    rest = 4, 2 + (1 + 1) + (1 + 3) + (1 + 1 + 3)
    assert [cost for _, cost in counted.calls] == [
        Cost(2 * n + rest[0], n + 2 * (n - 1) + 1 + rest[1]) for n in (3, 1)
    ]
    assert counted.by_function(functions)["helper"] == Cost(2, 2 * 4)


@pytest.mark.parametrize(
    ("version", "interface"), [("7.2.22", 1), ("8.2.2", 1), ("9.0.0", 2), ("9.1.2", 3), ("10.0", 3)]
)
def test_every_interface_of_qemu_s_plugins(version: str, interface: int, tmp_path: Path) -> None:
    """Two instructions in a program that has the functions of that QEMU, for want of the real one:
    MOVS, and BX that goes back to it."""
    assert _interface(f"QEMU emulator version {version} (Debian)") == interface
    program, result = tmp_path / "host", tmp_path / "cycles.txt"
    sources = [
        Path(cycles.__file__).with_name("cycles.c"),
        Path(__file__).with_name("plugin_host.c"),
    ]
    define = f"-DPLUGIN_VERSION={interface}"
    command = ["cc", *WARNINGS, "-Wno-missing-prototypes", define, *sources, "-o", program]
    subprocess.run(command, check=True, timeout=600)
    subprocess.run([program, f"out={result}"], check=True, timeout=600)
    # Three times MOVS and BX, and a refill behind all but the last.
    assert result.read_text() == "call 4 6 12\nblock 4 6 12\nend\n"


def test_programs_state_their_counts() -> None:
    """Each line of a program has its cycles beside it, but for those that are jumped over."""
    for body, _, _ in PROGRAMS.values():
        for line in filter(str.strip, body.splitlines()):
            assert "@" in line or re.search(r"nop|\.balign|\.byte", line)
