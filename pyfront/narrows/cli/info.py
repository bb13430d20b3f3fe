# SPDX-License-Identifier: Apache-2.0
"""``narrows info``: what is in a blob."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from narrows.blob import Blob, read_blob
from narrows.cli.console import arena, count, print_table, stage_label
from narrows.cli.places import add_input, add_json, add_output
from narrows.detection.header import c_header
from narrows.errors import ToolError, UsageError
from narrows.graph.detection import Ssd, Yolo
from narrows.graph.edges import HostEdge
from narrows.native import Layout
from narrows.signing import fingerprint


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser("info", help="show what is in a blob")
    add_input(parser, "blob", metavar="BLOB")
    add_output(
        parser,
        "--header",
        metavar="FILE.h",
        help="write anchors and settings of a detector for firmware that decodes boxes by itself",
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print header, edges and stages."""
    blob = read_blob(arguments.blob)
    report = describe(blob)
    if arguments.header is not None:
        if not isinstance(blob.detection, Ssd):
            raise UsageError(f"{arguments.header}: {blob.name} is no detector with anchors of SSD")
        text = c_header(blob.name, blob.detection, blob.outputs)
        arguments.outputs.write("header", text)
    arguments.outputs.write_json(report)
    _print(report)
    return 0


def describe(blob: Blob) -> dict[str, Any]:
    """What ``--json`` holds."""
    header, model = blob.header, blob.model
    stages = []
    for index, stage in enumerate(model.stages):
        entry: dict[str, Any] = {
            "stage": index,
            "op": stage.op.name.lower(),
            "form": stage.form.name.lower(),
            "what": stage_label(blob.stage_names, index),
        }
        if stage.output >= 0:
            info = model.tensors[stage.output]
            entry |= {
                "shape": list(info.shape),
                "ring_pixels": info.capacity,
                "ring_bytes": info.capacity * info.channels,
            }
        stages.append(entry)
    return {
        "model": blob.name,
        "format": f"{header.major}.{header.minor}",
        "layout": Layout(header.layout).name.lower(),
        "blob_bytes": header.blob_bytes,
        "arena_bytes": model.arena_bytes,
        "bytes_by_memory": list(header.bytes_by_memory),
        "progress_bytes": model.progress_bytes,
        "macs": header.macs,
        "max_step_work": header.max_step_work,
        "firings": header.firings,
        "input_passes": header.input_passes,
        "inputs": _edges(blob.inputs),
        "outputs": _edges(blob.outputs),
        "labels": len(blob.labels),
        "detection": _detection(blob),
        "preprocessing": None if blob.preprocessing is None else asdict(blob.preprocessing),
        "signature": _signature(blob),
        "stages": stages,
    }


def _detection(blob: Blob) -> dict[str, Any] | None:
    """What the metadata declare; of anchors how many there are."""
    declared = blob.metadata.get("detection")
    if declared is None:
        return None
    anchors = len(blob.detection.anchors) if isinstance(blob.detection, (Ssd, Yolo)) else 0
    return {**declared, **({"anchors": anchors} if anchors else {})}


def _signature(blob: Blob) -> dict[str, Any] | None:
    """verifies: None if the package that verifies is not installed; unverified: why, else None."""
    signature = blob.signature
    if signature is None:
        return None
    verifies: bool | None = None
    unverified: str | None = None
    try:
        verifies = signature.verifies(blob.data)
    except ToolError as error:
        unverified = str(error)
    return {
        "counter": signature.counter,
        "public_key": signature.key.hex(),
        "fingerprint": fingerprint(signature.key),
        "verifies": verifies,
        "unverified": unverified,
    }


def _edges(edges: Sequence[HostEdge]) -> list[dict[str, Any]]:
    return [
        {
            "name": edge.name,
            "dtype": edge.dtype,
            "shape": list(edge.shape),
            "scale": edge.scale,
            "zero_point": edge.zero_point,
        }
        for edge in edges
    ]


def _print(report: dict[str, Any]) -> None:
    print(f"{report['model']}: blob format {report['format']}, weight layout {report['layout']}")
    print(
        f"{count(report['blob_bytes'])} B, {arena(report['bytes_by_memory'])}, "
        f"counters {count(report['progress_bytes'])} B"
    )
    print(
        f"{report['macs'] / 1e6:.2f} M MACs in {count(report['firings'])} firings, "
        f"at most {count(report['max_step_work'])} units of work at once"
    )
    if report["signature"] is not None:
        signature = report["signature"]
        verdict = {
            True: "the signature is good",
            False: "the signature is NOT that of this blob",
            None: f"not verified: {signature['unverified']}",
        }[signature["verifies"]]
        print(
            f"signed by key {signature['fingerprint']}, counter {signature['counter']}: {verdict}"
        )
    for kind in ("inputs", "outputs"):
        for edge in report[kind]:
            shape = "x".join(map(str, edge["shape"]))
            print(f"{kind[:-1]} {edge['name']}: {edge['dtype']} {shape}")
    if report["preprocessing"] is not None:
        rule = report["preprocessing"]
        mean, scale = (", ".join(f"{v:g}" for v in rule[key]) for key in ("mean", "scale"))
        rotation = f", EXIF rotation: {rule['exif_rotation']}" if rule["exif_rotation"] else ""
        print(
            f"pictures: {rule['order']}, {rule['resize']}, fraction {rule['crop_fraction']:g}"
            f"{rotation}, real value = (pixel - [{mean}]) * [{scale}]"
        )
    if report["detection"] is not None:
        declared = report["detection"]
        anchors = f", {declared['anchors']} anchors" if "anchors" in declared else ""
        print(f"detection: {declared['kind']}{anchors}")
    if report["labels"]:
        print(f"{report['labels']} labels")
    print()
    print_table(
        (
            *("stage>", "operator", "form", "what"),
            *("height>", "width>", "channels>", "pixels held>", "bytes>"),
        ),
        (
            (
                entry["stage"],
                entry["op"],
                entry["form"],
                entry["what"],
                *entry.get("shape", ("", "", "")),
                entry.get("ring_pixels", ""),
                count(entry["ring_bytes"]) if "ring_bytes" in entry else "",
            )
            for entry in report["stages"]
        ),
    )
