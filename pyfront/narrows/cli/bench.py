# SPDX-License-Identifier: Apache-2.0
"""``narrows bench``: how fast a network runs, here beside other runtimes or on a board in QEMU."""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from narrows.bench import BoardBench, HostBench, bench_board, bench_host, board_of, can_estimate
from narrows.blob import Blob, is_blob, parse_blob
from narrows.boards import Board
from narrows.budget import plan_options, remarks
from narrows.cli.console import count, print_table, progress_bar, stage_label, warn
from narrows.cli.places import add_input, add_json
from narrows.compiler import CompileOptions, compile_model
from narrows.errors import UsageError
from narrows.files import read_file
from narrows.graph.qgraph import Int8Array
from narrows.importers import model_files
from narrows.result import Progress

_EPILOG = """\
On the host the times of one inference are compared with TensorFlow Lite Micro's and LiteRT's, each
on one thread: every round runs each of them once, and the medians count. They need the .tflite.

On a board in QEMU the instructions of one inference are counted, from the first request for a row
to the last byte of the output, without waiting for the line. QEMU knows no cycles, so for a
Cortex-M4 or M3 they are estimated: each instruction is charged what the Cortex-M4's Technical
Reference Manual says, with memory without wait states. Flash has some at high clocks, so there real
boards take longer.

A MODEL is compiled first: for a board as 'compile --board' does, else as 'compile' does by itself.
"""
_MOST_FUNCTIONS = 8
_SEED = 0


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "bench",
        help="how fast a network runs, here or on a board in QEMU",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_input(
        parser, "network", files=model_files, metavar="MODEL|BLOB", help="int8 .tflite, or a blob"
    )
    parser.add_argument(
        "--target",
        default="host",
        metavar="TARGET",
        help="host (the default), qemu:BOARD or rp2040js:BOARD",
    )
    add_input(parser, "--model", metavar="MODEL", help="the .tflite of a BLOB, for other runtimes")
    parser.add_argument(
        "--rounds", type=int, default=10, metavar="N", help="rounds on the host (%(default)s)"
    )
    parser.add_argument(
        "--cycles",
        action=argparse.BooleanOptionalAction,
        help="estimate a Cortex-M4's cycles (the default where the board has an M4 or M3)",
    )
    parser.add_argument(
        "--mhz", type=float, metavar="MHZ", help="clock for milliseconds (the board's)"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print and write the figures."""
    is_host = arguments.target == "host"
    if arguments.rounds < 1:
        raise UsageError(f"--rounds {arguments.rounds}: give 1 or more")
    if arguments.mhz is not None and not arguments.mhz > 0:
        raise UsageError(f"--mhz {arguments.mhz:g}: give more than 0")
    if is_host and (arguments.cycles or arguments.mhz is not None):
        raise UsageError("--cycles and --mhz are for a board in QEMU: give --target qemu:BOARD")
    board = None if is_host else board_of(arguments.target)
    cycles = board is not None and _estimates(arguments, board)
    with progress_bar() as progress:
        blob, model = _open(arguments, board, progress)
        inputs = _random_inputs(blob)
        if board is None:
            host = bench_host(blob, inputs, model, arguments.rounds, progress)
            report = _host_report(blob, host)
        else:
            found = bench_board(blob, arguments.target, inputs, cycles, progress)
            clock_hz = found.clock_hz if arguments.mhz is None else round(arguments.mhz * 1e6)
            report = _board_report(blob, found, clock_hz)
    if board is None:
        _print_host(host, model)
    else:
        _print_board(blob, found, report)
    arguments.outputs.write_json(report)
    return 0


def _estimates(arguments: argparse.Namespace, board: Board) -> bool:
    """Whether cycles are estimated. Raises: UsageError: they cannot be, and are asked for."""
    if arguments.cycles is False:
        return False
    reason = can_estimate(board)
    if reason is not None and (arguments.cycles or arguments.mhz is not None):
        raise UsageError(reason)
    return reason is None


def _open(
    arguments: argparse.Namespace, board: Board | None, progress: Progress
) -> tuple[Blob, Path | None]:
    """The blob, and the .tflite for other runtimes if there is one."""
    path = arguments.network
    data = read_file(path, "model")
    if is_blob(path, data):
        blob = parse_blob(data, path)
        warn(path, remarks(blob.header.layout, board))
        return blob, None if arguments.model is None else Path(arguments.model)
    if arguments.model is not None:
        raise UsageError("--model is for a blob; a MODEL is compared with itself")
    compiled = compile_model(path, CompileOptions(plan_options(None, board)), progress)
    warn(path, compiled.report.get("warnings", ()))
    return parse_blob(compiled.blob, path), Path(path) if data[4:8] == b"TFL3" else None


def _random_inputs(blob: Blob) -> list[Int8Array]:
    """Noise: how long an inference takes hardly depends on what it is about."""
    rng = np.random.default_rng(_SEED)
    return [rng.integers(-128, 128, info.shape).astype(np.int8) for info in blob.model.inputs]


def _host_report(blob: Blob, host: HostBench) -> dict[str, Any]:
    """What ``--json`` holds."""
    return {
        "model": blob.name,
        "target": "host",
        "macs": host.macs,
        "runtimes": {
            runtime.name: {
                "milliseconds": runtime.median * 1e3,
                "ratio": host.ratio(runtime),
                "rounds": [seconds * 1e3 for seconds in runtime.seconds],
            }
            for runtime in host.runtimes
        },
        "missing": list(host.missing),
    }


def _print_host(host: HostBench, model: Path | None) -> None:
    rounds = len(host.runtimes[0].seconds)
    print(f"{host.macs / 1e6:.2f} M MACs, one thread, medians of {rounds} rounds\n")
    print_table(
        ("runtime", "ms>", "min>", "max>", "time x>"),
        (
            (
                runtime.name,
                *(f"{1e3 * value(runtime.seconds):.3f}" for value in (statistics.median, min, max)),
                f"{host.ratio(runtime):.2f}",
            )
            for runtime in host.runtimes
        ),
    )
    for line in host.missing:
        print(f"\nnot compared: {line}")
    if model is None:
        print("\nnot compared with other runtimes, which need the int8 .tflite: give --model MODEL")


def _board_report(blob: Blob, found: BoardBench, clock_hz: int | None) -> dict[str, Any]:
    """What ``--json`` holds."""
    report: dict[str, Any] = {
        "model": blob.name,
        "target": found.target,
        "core": found.core,
        "macs": found.macs,
        "instructions": found.instructions,
        "instructions_per_mac": _ratio(found.instructions, found.macs),
        "arena_bytes": found.arena_bytes,
        "ram_high_water_bytes": found.ram_high_water_bytes,
        "stages": [
            {key: value for key, value in vars(stage).items() if value is not None}
            for stage in found.stages
        ],
    }
    if found.cycles is not None:
        report |= {
            "cycles": found.cycles,
            "cycles_per_mac": _ratio(found.cycles, found.macs),
            "functions": {name: vars(cost) for name, cost in found.functions.items()},
        }
        if clock_hz is not None:
            report |= {"clock_hz": clock_hz, "milliseconds": 1e3 * found.cycles / clock_hz}
    return report


def _ratio(value: int, macs: int) -> float | None:
    return value / macs if macs else None


def _per_mac(value: int | None, macs: int) -> str:
    return f"{value / macs:.2f}" if value is not None and macs else ""


def _print_board(blob: Blob, found: BoardBench, report: dict[str, Any]) -> None:
    with_cycles = found.cycles is not None
    rest = found.instructions - sum(stage.instructions for stage in found.stages)
    lines = [
        (s.stage, s.op, stage_label(blob.stage_names, s.stage), s.macs, s.instructions, s.cycles)
        for s in found.stages
    ]
    cycles = None
    if found.cycles is not None:
        cycles = found.cycles - sum(stage.cycles or 0 for stage in found.stages)
    rows = [
        *lines,
        ("", "", "rows in and out", 0, rest, cycles),
        ("", "", "total", found.macs, found.instructions, found.cycles),
    ]
    headings = ("stage>", "operator", "what", "MACs>", "instructions>", "per MAC>")
    print_table(
        (*headings, *(("cycles>", "per MAC>") if with_cycles else ())),
        (
            (
                *row[:3],
                count(row[3]),
                count(row[4]),
                _per_mac(row[4], row[3]),
                *((count(row[5] or 0), _per_mac(row[5], row[3])) if with_cycles else ()),
            )
            for row in rows
        ),
    )
    print(f"\narena {count(found.arena_bytes)} B, RAM {count(found.ram_high_water_bytes)} B")
    if found.cycles is None:
        reason = can_estimate(board_of(found.target))
        print(f"cycles are not estimated: {reason}" if reason else "cycles are not estimated")
        return
    print(f"{_ms(report)} (estimated: a Cortex-M4's timings, memory without wait states)\n")
    print_table(
        ("function", "instructions>", "cycles>", "share>"),
        (
            (name, count(c.instructions), count(c.cycles), f"{c.cycles / found.cycles:.1%}")
            for name, c in list(found.functions.items())[:_MOST_FUNCTIONS]
        ),
    )


def _ms(report: dict[str, Any]) -> str:
    """The milliseconds, if the clock is known."""
    if "milliseconds" not in report:
        return f"{count(report['cycles'])} cycles"
    return f"about {report['milliseconds']:.1f} ms at {report['clock_hz'] / 1e6:g} MHz"
