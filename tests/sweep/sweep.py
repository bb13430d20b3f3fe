# SPDX-License-Identifier: Apache-2.0
"""Whether networks of other frameworks compile, give the oracle's bytes, and stay close to floats.

python tests/sweep/sweep.py              every network of PyTorch, and the table
python tests/sweep/sweep.py conv gelu    those of these names
python tests/sweep/sweep.py --write      every one, and what is refused into refused.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "py"))

from files import SUFFIXES, outcome_of_file
from judge import Outcome

REFUSED = Path(__file__).with_name("refused.md")
_HEAD = """\
# What is refused of PyTorch's exports

Of the small networks in `torch_layers.py` and `torch_blocks.py`, which `tests/sweep/sweep.py`
exports by both of PyTorch's exporters, quantizes, compiles and runs:

"""


def table(outcomes: Sequence[Outcome]) -> str:
    """The networks that do not compile, as a table of Markdown."""
    good = [o for o in outcomes if not o.refused]
    exact = sum(not o.apart for o in good)
    lines = [
        f"{len(good)} of {len(outcomes)} compile, and {exact} of these give the oracle's bytes."
    ]
    lines += ["", "| network | exporter | reason |", "|---|---|---|"]
    rows: dict[tuple[str, str], list[str]] = {}
    for outcome in outcomes:
        if outcome.refused:
            rows.setdefault((outcome.name, outcome.refused), []).append(outcome.exporter)
    lines += [f"| {name} | {', '.join(by)} | {why} |" for (name, why), by in rows.items()]
    return "\n".join(lines) + "\n"


def documented() -> set[tuple[str, str]]:
    """(network, exporter) of those that refused.md lists."""
    rows = [line.split(" | ") for line in REFUSED.read_text(encoding="utf-8").splitlines()]
    cells = [row for row in rows if len(row) >= 3 and row[0] not in ("| network", "|---|---|---|")]
    return {(row[0][2:], exporter) for row in cells for exporter in row[1].split(", ")}


def shown(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """The same, each printed as it comes."""
    seen = []
    for outcome in outcomes:
        exact = "exact" if not outcome.apart else f"{outcome.apart} bytes apart"
        said = outcome.refused or f"{exact}, {outcome.decibels:.1f} dB"
        print(f"{outcome.name:32} {outcome.exporter:12} {said}", flush=True)
        seen.append(outcome)
    return seen


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--exporter", choices=("torchscript", "dynamo"), action="append")
    parser.add_argument("--files", type=Path, metavar="DIR")
    parser.add_argument("--write", action="store_true", help="what is refused, into refused.md")
    arguments = parser.parse_args()
    if arguments.files is not None:
        found = sorted(path for path in arguments.files.iterdir() if path.suffix in SUFFIXES)
        print(table(shown(map(outcome_of_file, found))).splitlines()[0])
        return
    from torch_blocks import NETWORKS
    from torch_export import EXPORTERS, outcome_of

    names = arguments.names or list(NETWORKS)
    exporters = arguments.exporter or EXPORTERS
    outcomes = shown(outcome_of(name, exporter) for name in names for exporter in exporters)
    made = table(outcomes)
    print(made.splitlines()[0])
    if arguments.write:
        REFUSED.write_text(_HEAD + made, encoding="utf-8")


if __name__ == "__main__":
    main()
