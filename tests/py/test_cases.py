# SPDX-License-Identifier: Apache-2.0
"""Every file of ../shared/cases through the commands: exact, or refused with words that help."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from cases import DAMAGED, OUTCOMES, Exact, NearLiteRt, Quantized, Refused
from litert import PLAIN, LiteRT, litert_outputs
from models import case
from narrows.blob import Blob, read_blob
from narrows.cli import EXIT_ERROR, main
from narrows.errors import NarrowsError
from narrows.exporters.export import export_tflite
from narrows.graph.edges import decode, encode
from narrows.graph.passes import drop_unused
from narrows.importers import load
from narrows.native import Run
from oracle import Array, Oracle

# Lines of a refusal: the first, and one for each cause.
MOST_LINES = 6
SAMPLES = 4


def test_every_file_has_an_outcome() -> None:
    files = {path.name for path in case("").iterdir()} - {"README.md"}
    assert files == set(OUTCOMES)


def quietly(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """The exit code of a command, and all that it printed."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


@pytest.mark.parametrize("name", sorted(OUTCOMES))
def test_case(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, outcome = case(name), OUTCOMES[name]
    match outcome:
        case Exact(says, tflm_errs):
            printed = check_exact(path, tmp_path / "case.nrw", capsys, tflm_errs=tflm_errs)
            assert not [words for words in says if not re.search(words, printed)], printed
        case NearLiteRt(steps):
            check_near_litert(path, tmp_path / "case.nrw", capsys, steps)
        case Quantized():
            check_quantized(path, tmp_path, capsys)
        case Refused(says, never, by):
            for command in by:
                check_refused(command, path, tmp_path, capsys, says, never)


def check_exact(
    model: Path, blob: Path, capsys: pytest.CaptureFixture[str], *, tflm_errs: bool = False
) -> str:
    """Compile, and require TFLite Micro's bytes. Returns: what was printed."""
    code, printed = quietly(capsys, "compile", model, "-o", blob)
    assert code == 0, printed
    compiled = read_blob(blob)
    exported = model.suffix == ".onnx" or tflm_errs
    data = export_tflite(drop_unused(load(model))) if exported else model.read_bytes()
    oracle = Oracle(data)
    for outside, got in inferences(compiled):
        wanted = oracle.run(outside, len(compiled.outputs))
        for edge, values, want in zip(compiled.outputs, got, wanted, strict=True):
            np.testing.assert_array_equal(values, want, edge.name)
        if model.suffix == ".onnx":
            check_onnxruntime(model, compiled, outside, wanted)
        if tflm_errs:
            litert = LiteRT(model.read_bytes(), PLAIN).run(outside, len(wanted))
            for near, want in zip(litert, wanted, strict=True):
                assert np.abs(near.astype(int) - want).max() <= 1
    return printed


def inferences(compiled: Blob) -> Iterator[tuple[list[Array], list[Array]]]:
    """Random inputs and what the blob gives for them, both as the model itself has them."""
    rng = np.random.default_rng(1)
    for _ in range(SAMPLES):
        outside: list[Array] = []
        for edge in compiled.inputs:
            if edge.dtype == "float32":
                reach = 140 * edge.tensor_scale
                values = rng.uniform(-reach, reach, edge.shape).astype(np.float32)
            else:
                info = np.iinfo(edge.dtype)
                values = rng.integers(info.min, info.max + 1, edge.shape).astype(edge.dtype)
            outside.append(values)
        inside = [
            encode(edge, values).reshape(tensor.shape)
            for edge, values, tensor in zip(
                compiled.inputs, outside, compiled.model.inputs, strict=True
            )
        ]
        got = Run(compiled.model).infer(inside)
        pairs = zip(compiled.outputs, got, strict=True)
        yield outside, [decode(edge, values) for edge, values in pairs]


def check_near_litert(
    model: Path, blob: Path, capsys: pytest.CaptureFixture[str], steps: int
) -> None:
    code, printed = quietly(capsys, "compile", model, "-o", blob)
    assert code == 0, printed
    data = model.read_bytes()
    for outside, got in inferences(read_blob(blob)):
        for values, want in zip(got, litert_outputs(data, outside, "BUILTIN_REF"), strict=True):
            assert values.dtype == want.dtype
            assert np.abs(values.astype(int) - want).max() <= steps


def check_onnxruntime(
    model: Path, compiled: Blob, inputs: Sequence[Array], found: Sequence[Array]
) -> None:
    """It computes in floats between its roundings, so a step of difference may be there."""
    options = onnxruntime.SessionOptions()
    # Without it a processor that has no VNNI adds two products in 16 bits, which saturate.
    options.add_session_config_entry("session.x64quantprecision", "1")
    if "qop" in model.name:  # its QGemm has a kernel as it is, and none in other integers
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {
        port.name: x.transpose(0, 3, 1, 2) if x.ndim == 4 else x
        for port, x in zip(session.get_inputs(), inputs, strict=True)
    }
    for edge, got, want in zip(compiled.outputs, found, session.run(None, feed), strict=True):
        turned = want.transpose(0, 2, 3, 1) if want.ndim == 4 else want
        assert np.abs(got - turned).max() <= 1.001 * edge.tensor_scale, edge.name


def check_quantized(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A float network is refused by compile, and quantized into one that is exact."""
    check_refused("compile", model, folder, capsys, (r"a float (model|network)", "quantize"), ())
    data, made = save_samples(model, folder), folder / "int8.tflite"
    code, printed = quietly(capsys, "quantize", model, "--data", data, "-o", made)
    assert code == 0, printed
    check_exact(made, folder / "case.nrw", capsys)


def check_refused(
    command: str,
    path: Path,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    says: tuple[str, ...],
    never: tuple[str, ...],
) -> None:
    output = folder / "output"
    arguments = {
        "compile": ["compile", path, "-o", output],
        "quantize": ["quantize", path, "--data", save_samples(path, folder), "-o", output],
        "run": ["run", path, "--input", save_samples(path, folder)],
        "info": ["info", path],
    }
    code, printed = quietly(capsys, *arguments[command])
    assert code == EXIT_ERROR, f"{command}: {printed}"
    lines = printed.strip().splitlines()
    assert lines[0].startswith("narrows: error: "), printed
    assert path.name in lines[0], printed
    assert len(lines) <= MOST_LINES, printed
    unsaid = [words for words in says if not re.search(words, printed)]
    assert not unsaid, f"{command} does not say {unsaid}:\n{printed}"
    wrong = [words for words in (DAMAGED, *never) if re.search(words, printed)]
    assert not wrong, f"{command} says {wrong}:\n{printed}"
    assert not output.exists()


def save_samples(model: Path, folder: Path) -> Path:
    """A data set for the inputs of a model: one array, or one for each."""
    try:
        ports = load(model).inputs
        shapes = {"x" if len(ports) == 1 else port.name: port.shape for port in ports}
    except NarrowsError:  # refused before the data matters
        shapes = {"x": (1, 1)}
    rng, path = np.random.default_rng(2), folder / "samples.npz"
    arrays = {n: rng.normal(0, 1, (SAMPLES, *s[1:])).astype("f4") for n, s in shapes.items()}
    np.savez(path, **arrays)
    return path
