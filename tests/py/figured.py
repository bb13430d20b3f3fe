# SPDX-License-Identifier: Apache-2.0
"""Tables and figures of the documentation, from what benchmarks have stored: nothing is measured
here. Figures of other runtimes come from ``docs/design/others.toml``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from narrows.importers import tflite
from narrows.native import Layout
from narrows.planning.rates import cycles_per_instruction
from pages import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_BUDGET = ROOT / "tests" / "budget"
_COLUMNS = ("arena", "RAM", "instructions", "per MAC")
_CORES = {"cortex-m3": "cortex-m3 fast blocked", "cortex-m55": "cortex-m55 mve plain"}
# Some of the networks, for the README.
_FEW = ("digits_int8", "mlperf_kws_int8", "mlperf_vww_96_int8", "mobilenet_v2_1.0_224_ptq")


def _stored(name: str) -> Any:
    return json.loads((_BUDGET / f"{name}.json").read_text(encoding="utf-8"))


def _others() -> dict[str, Any]:
    text = (ROOT / "docs" / "design" / "others.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown; the first column is text, the others are numbers."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines).replace(
        f"| {' | '.join(lines[1])} |", f"|{'|'.join(lines[1])}|", 1
    )


def _millions(instructions: float) -> str:
    return f"{instructions / 1e6:.2f} M"


def figure_tables() -> dict[str, str]:
    """Name of a part -> its table."""
    stored = _stored("networks")
    networks: dict[str, Any] = stored["networks"]
    zoo: dict[str, Any] = stored["zoo"]
    others = _others()
    return {
        "figures": _figures(networks),
        "few figures": _few_figures(networks),
        "front": _front(stored["front"]),
        "compared RAM": _compared_ram({**networks, **zoo}, others["arena"]),
        "compared instructions": _compared_instructions(networks, others["instructions"]),
        "compared cores": _compared_cores(_stored("cores"), others["cores"]),
        "compared cycles": _compared_cycles(networks, others["cycles"]),
    }


def figures_by_key() -> dict[str, str]:
    """Key of a figure within a sentence -> its text."""
    found = dict(_of_networks(_stored("networks")["networks"]))
    others = _others()
    found |= {f"others {key}": text for key, text in others["words"].items()}
    found |= {f"source {key}": text for key, text in others["sources"].items()}
    boards = _stored("boards")
    for board, row in boards["boards"].items():
        found[f"{board} firmware"] = f"{row['firmware_flash']:,} B"
    for core, sizes in boards["sizes"].items():
        found[f"{core} small firmware"] = f"{sizes['all']:,} B"
        found[f"{core} small firmware digits"] = f"{sizes['digits']:,} B"
    cycles = cycles_per_instruction(Layout.PAIRED, "dsp")
    assert cycles is not None
    found["cycles per instruction"] = f"{cycles:.2f}"
    operators = [name for one in tflite.supported_operators() for name in one.name.split(", ")]
    found["operators of .tflite"] = str(len(operators))
    return found


def _of_networks(networks: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, row in networks.items():
        yield f"{name} layer by layer", _rounded(row["layer_by_layer"])
        for kind in ("portable", "dsp"):
            for what in ("arena", "ram"):
                yield f"{name} {kind} {what}", _rounded(row[kind][what])
            yield f"{name} {kind} instructions", _millions(row[kind]["instructions"])
            per_mac = row[kind]["instructions"] / row["macs"]
            yield f"{name} {kind} per MAC", f"{per_mac:.2f}"


def _rounded(size: int) -> str:
    """Bytes for a sentence."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.{0 if size >= 1e4 else 1}f} KB"


def _figures(networks: Mapping[str, Any]) -> str:
    kinds = [f"{kind}: {what}" for kind in ("portable", "DSP") for what in _COLUMNS]
    rows = []
    for name, row in networks.items():
        cells = [name, _millions(row["macs"]), f"{row['layer_by_layer']:,}"]
        for f in (row["portable"], row["dsp"]):
            cells += [f"{f['arena']:,}", f"{f['ram']:,}", _millions(f["instructions"])]
            cells.append(f"{f['instructions'] / row['macs']:.2f}")
        rows.append(cells)
    return _table(["network", "MACs", "layer by layer", *kinds], rows)


def _few_figures(networks: Mapping[str, Any]) -> str:
    rows = []
    for name in _FEW:
        row, f = networks[name], networks[name]["dsp"]
        counted = [f"{row['layer_by_layer']:,}", f"{f['ram']:,}", _millions(f["instructions"])]
        rows.append([name, _millions(row["macs"]), *counted])
    heads = ["network", "MACs", "layer by layer, RAM", "narrows, RAM", "instructions"]
    return _table(heads, rows)


def _front(choices: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for c in choices:
        cells = [f"{c['ram']:,}", f"{c['arena']:,}", f"x{c['mac_factor']:.3f}"]
        cells.append(f"{c['instructions'] / 1e6:.1f} M")
        rows.append([f"**{cell}**" for cell in cells] if c["chosen"] else cells)
    table = _table(["RAM", "arena", "MACs", "instructions"], rows)
    return table.replace("|---|", "|---:|", 1)


def _compared_ram(ours: Mapping[str, Any], others: Mapping[str, Any]) -> str:
    rows = []
    for name, other in others.items():
        own = ours[name]
        told = [other.get(key, "") for key in ("tflm", "tinyengine", "xcubeai")]
        rows.append([name, f"{own.get('dsp', own)['arena']:,}", *told])
    return _table(["network", "narrows", "TFLite Micro", "TinyEngine", "X-CUBE-AI"], rows)


def _compared_instructions(networks: Mapping[str, Any], others: Mapping[str, Any]) -> str:
    rows = []
    for name, other in others.items():
        own = _millions(networks[name]["dsp"]["instructions"])
        rows.append([name, own, other["tflm"], other["tinyengine"]])
    return _table(["network", "narrows", "TFLite Micro, CMSIS-NN", "TinyEngine"], rows)


def _compared_cores(cores: Mapping[str, Any], others: Mapping[str, Any]) -> str:
    rows = []
    for name, other in others.items():
        cells = [name]
        for core, kind in _CORES.items():
            cells += (
                [_millions(cores[name][kind]), other[core]] if kind in cores[name] else ["", ""]
            )
        rows.append(cells)
    heads = [f"{core}: {who}" for core in ("M3", "M55") for who in ("narrows", "TFLite Micro")]
    return _table(["network", *heads], rows)


def _compared_cycles(networks: Mapping[str, Any], others: Mapping[str, str]) -> str:
    cycles = cycles_per_instruction(Layout.PAIRED, "dsp")
    assert cycles is not None
    rows = [
        [
            name,
            f"{networks[name]['dsp']['instructions'] / networks[name]['macs'] * cycles:.2f}",
            other,
        ]
        for name, other in others.items()
    ]
    return _table(["network", "narrows, estimated", "X-CUBE-AI, measured"], rows)
