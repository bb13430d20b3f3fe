# SPDX-License-Identifier: Apache-2.0
"""``narrows zoo``: the networks with seeded weights, beside what papers print."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from narrows.cli.console import print_table
from narrows.cli.places import add_json
from narrows.zoo.paper import Maximum, Row, compare, compare_maxima


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "zoo", help="count the zoo's networks beside the MobileNetV2 paper's tables"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print parameters, multiply-adds and the largest tensors."""
    rows, maxima = compare(), compare_maxima()
    _print(rows, maxima)
    report = {"networks": [asdict(row) for row in rows], "table_3": [asdict(m) for m in maxima]}
    arguments.outputs.write_json(report)
    return 0


def _print(rows: list[Row], maxima: list[Maximum]) -> None:
    print("Parameters (weights and biases, batch normalization folded) and multiply-adds, beside")
    print("the tables of the MobileNetV2 paper (V3: of the MobileNetV3 paper)\n")
    notes = [row.explanation for row in rows if row.explanation]
    print_table(
        ("table", "network", "parameters>", "printed>", ">", "MAdds>", "printed>", ">", "note"),
        (
            (
                row.table,
                row.network,
                _millions(row.parameters),
                _millions(row.printed_parameters),
                _percent(row.deviations[0]),
                _millions(row.multiply_adds),
                _millions(row.printed_multiply_adds),
                _percent(row.deviations[1]),
                f"[{notes.index(row.explanation) + 1}]" if row.explanation else "",
            )
            for row in rows
        ),
    )
    print()
    for number, note in enumerate(notes, 1):
        print(f"[{number}] {note}")
    print("\nTable 3: the largest tensor that has to exist as a whole, 16 bits an activation\n")
    print_table(
        ("network", "shape", "bytes>", "printed>"),
        ((m.network, m.shape, f"{m.bytes / 1e3:.0f}K", f"{m.printed / 1e3:.0f}K") for m in maxima),
    )


def _millions(value: float | None) -> str:
    return (
        "" if value is None else f"{value / 1e6:.3f} M" if value < 1e7 else f"{value / 1e6:.1f} M"
    )


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:+.1f}%"
