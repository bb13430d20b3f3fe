# SPDX-License-Identifier: Apache-2.0
"""``narrows zoo``: the networks with seeded weights, beside what papers print, or one as a file."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from narrows import zoo
from narrows.cli.console import count, print_table
from narrows.cli.places import add_json, add_output
from narrows.errors import UsageError
from narrows.exporters.export import export_tflite
from narrows.graph.passes import drop_unused
from narrows.importers.metadata import encode_metadata
from narrows.zoo.paper import Maximum, Row, compare, compare_maxima


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "zoo",
        help="count the zoo's networks beside the MobileNetV2 paper's tables, or write one of them",
    )
    parser.add_argument(
        "network",
        nargs="?",
        metavar="NAME[,OPTION=VALUE...]",
        help="network to write, such as ssdlite,width=0.35,size=96: int8, untrained",
    )
    add_output(parser, "-o", "--output", metavar="MODEL_INT8", help="where to write it")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print parameters, multiply-adds and the largest tensors, or write a network."""
    if (arguments.network is None) != (arguments.output is None):
        raise UsageError("a network of the zoo and -o MODEL_INT8 belong together")
    if arguments.network is not None:
        return _write(arguments)
    rows, maxima = compare(), compare_maxima()
    _print(rows, maxima)
    report = {"networks": [asdict(row) for row in rows], "table_3": [asdict(m) for m in maxima]}
    arguments.outputs.write_json(report)
    return 0


def _write(arguments: argparse.Namespace) -> int:
    name, options = parse_network(arguments.network, arguments.network)
    graph = zoo.quantized(name, **options)
    made = export_tflite(drop_unused(graph), encode_metadata(zoo.metadata(name, graph)))
    if arguments.outputs.write("output", made):
        print(f"{arguments.output}: {count(len(made))} B, {graph.name}, untrained")
    arguments.outputs.write_json({"name": graph.name, "bytes": len(made)})
    return 0


def parse_network(text: str, place: str) -> tuple[str, dict[str, bool | int | float]]:
    """``NAME[,OPTION=VALUE...]``. place: what errors call it. Raises: UsageError."""
    name, *options = text.split(",")
    return name, dict(_option(place, option) for option in options)


def _option(place: str, option: str) -> tuple[str, bool | int | float]:
    key, _, value = option.partition("=")
    try:
        if value in ("true", "false"):
            return key, value == "true"
        return key, float(value) if "." in value else int(value)
    except ValueError as error:
        example = "mobilenet_v2,width=0.35,size=96"
        example = f"zoo:{example}" if place.startswith("zoo:") else example
        raise UsageError(f"{place}: {option!r}: give options as in {example}") from error


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
