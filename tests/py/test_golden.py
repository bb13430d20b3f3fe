# SPDX-License-Identifier: Apache-2.0
"""Blobs of released formats, and the annotated example of runtime/SPEC.md."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from blob_reader import Engine, read_blob
from narrows.errors import BlobError
from narrows.graph.qgraph import Edge, QConv, QGraph, QTensor
from narrows.native import Model, Run, Status
from narrows.pack import pack
from narrows.planning.planner import plan
from narrows.quantization import reference

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
TINY = GOLDEN / "tiny-3.2.nrw"
MAJOR = 3
BYTES = re.compile(r"^([0-9a-f]{4})  ((?:[0-9a-f]{2} ?)+)(?:  |$)", re.MULTILINE)


def tiny_graph() -> QGraph:
    """One 3x1 convolution of stride 2: 5 x 2 x 1 to 3 x 2 x 2."""
    tensors = (QTensor("x", 5, 2, 1, 1.0, 3), QTensor("y", 3, 2, 2, 1.0, -1))
    conv = QConv(
        inputs=(0,),
        output=1,
        weights=np.array([1, 2, -1, 3, 0, 1], np.int8).reshape(2, 3, 1, 1),
        bias=np.array([5, -5], np.int32),
        multiplier=np.array([1 << 30, 3 << 29], np.int32),
        shift=np.array([1, -1], np.int32),
        stride=(2, 1),
        dilation=(1, 1),
        pad=(1, 0),
        act_min=-128,
        act_max=127,
    )
    edges = [
        Edge(t.name, i, "int8", (1, t.height, t.width, t.channels), t.scale, t.zero_point)
        for i, t in enumerate(tensors)
    ]
    return QGraph("tiny", tensors, (conv,), (edges[0],), (edges[1],))


TINY_INPUT = np.arange(10, dtype=np.int8).reshape(5, 2, 1)
TINY_OUTPUT = [[[-1, -3], [0, -3]], [[2, -3], [4, -2]], [[17, 1], [20, 2]]]


def test_the_packer_still_makes_the_golden_blob() -> None:
    graph = tiny_graph()
    assert pack(graph, plan(graph), None) == TINY.read_bytes()


def test_the_annotated_example_is_the_golden_blob() -> None:
    """Every byte of it, in order."""
    text = (ROOT / "runtime" / "SPEC.md").read_text(encoding="utf-8")
    example = text.split("\n## Annotated example\n", 1)[1].split("\n## ", 1)[0]
    data = b""
    for offset, digits in BYTES.findall(example):
        assert int(offset, 16) == len(data), f"line {offset}"
        data += bytes.fromhex(digits)
    assert data == TINY.read_bytes()


def test_the_example_computes_what_it_says() -> None:
    (expected,) = reference.run(tiny_graph(), [TINY_INPUT])
    assert expected.tolist() == TINY_OUTPUT
    model = Model(TINY.read_bytes())
    (found,) = Run(model).infer([TINY_INPUT])
    assert found.tolist() == TINY_OUTPUT
    order = " ".join(map(str, Engine(read_blob(TINY.read_bytes())).order()))
    assert f"Firings: {order}." in (ROOT / "runtime" / "SPEC.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.nrw")), ids=lambda path: path.name)
def test_every_golden_blob_is_still_read_or_refused_by_its_version(path: Path) -> None:
    data = path.read_bytes()
    if f"-{MAJOR}." in path.name:
        read_blob(data)
        Model(data).verify()
        return
    with pytest.raises(
        BlobError, match="another version of the blob format; compile the model anew"
    ) as caught:
        Model(data)
    assert caught.value.status == Status.ERR_VERSION
