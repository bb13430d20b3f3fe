# SPDX-License-Identifier: Apache-2.0
"""``narrows.testing``: equal bytes pass, whatever brings the inputs, and what differs is named."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from damage import damaged
from narrows.blob import Blob, parse_blob
from narrows.compiler import Compiled, compile_model
from narrows.errors import InputError, LinkError, NarrowsError, NarrowsWarning, UsageError
from narrows.graph.qgraph import Int8Array
from narrows.models import DIGITS_FLOAT, DIGITS_INT8, load_held_out, prepare_digits
from narrows.pack import pack
from narrows.result import Result
from narrows.targets import HostTarget
from narrows.testing import LoadedTarget, assert_matches_reference
from single import Net

LAYER = "block3/project"
DIGITS = prepare_digits(load_held_out().images)[:4]


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    return compile_model(DIGITS_INT8)


@pytest.fixture(scope="module")
def good(compiled: Compiled) -> Blob:
    return parse_blob(compiled.blob, "good")


@pytest.fixture(scope="module")
def wrong(compiled: Compiled) -> Blob:
    """One bit of one weight is another."""
    return parse_blob(pack(damaged(compiled, LAYER), compiled.plan, {}), "wrong")


class Elsewhere(HostTarget):
    """The host under another name, which is compared with the host."""

    def __init__(self, blob: bytes) -> None:
        super().__init__(blob)
        self.name = "elsewhere"


def test_equal_to_tflite_micro(good: Blob) -> None:
    loaded = LoadedTarget(HostTarget(good.data), good)
    assert_matches_reference(loaded, DIGITS, DIGITS_INT8)
    assert_matches_reference(good, DIGITS[0], model=str(DIGITS_INT8))
    assert_matches_reference(LoadedTarget(Elsewhere(good.data), good), DIGITS)


def test_every_form_of_inputs_is_compared(wrong: Blob, tmp_path: Path) -> None:
    """The fourth alone differs, whatever brings it."""
    digit = DIGITS[1]  # the wrong bit does not reach the output of every one
    np.save(tmp_path / "wrong.npy", digit)
    blank = np.full((32, 32, 1), -128, np.int8)
    assert_matches_reference(wrong, blank, DIGITS_INT8)
    floats = (digit.astype(np.float32) + 128) / 255
    fourth = (digit, floats, tmp_path / "wrong.npy", digit[np.newaxis])
    for item in fourth:
        with pytest.raises(AssertionError, match="in input 3\n"):
            assert_matches_reference(wrong, [blank, blank, blank, item], DIGITS_INT8)
    stacked = np.stack([blank, blank, blank, digit])
    with pytest.raises(AssertionError, match="in input 3\n"):
        assert_matches_reference(wrong, stacked, DIGITS_INT8)
    with pytest.raises(AssertionError, match="in input 0\n"):
        assert_matches_reference(wrong, str(tmp_path / "wrong.npy"), DIGITS_INT8)


def message(board_or_blob: LoadedTarget | Blob, model: Path | None = None) -> list[str]:
    with pytest.raises(AssertionError) as caught:
        assert_matches_reference(board_or_blob, DIGITS, model)
    return str(caught.value).split("\n  ")


def test_the_first_differing_layer_is_named(
    good: Blob, wrong: Blob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By each of the references, in the same words and numbers."""
    head, layer, place, *_ = by_tflm = message(wrong, DIGITS_INT8)
    assert head == "host differs from TensorFlow Lite Micro in input 1"
    assert layer == f"first differing layer: {LAYER} (conv_2d), shape (4, 4, 24)"
    assert re.fullmatch(r"at index \(\d, \d, 1\): expected -?\d+, found -?\d+", place)
    assert "or in what it is fused with and nobody sees: block3/expand, block3/depthwise" in by_tflm
    assert by_tflm[-1].startswith("output probabilities: ")

    by_host = message(LoadedTarget(Elsewhere(wrong.data), good))
    assert by_host[0] == "elsewhere differs from the runtime on the host in input 1"
    assert LAYER in by_host[1]
    assert by_host[2] == place
    assert not any("fused" in line for line in by_host)

    monkeypatch.setitem(sys.modules, "tflite_micro", None)
    by_numpy = message(wrong, DIGITS_INT8)
    assert by_numpy[0] == "host differs from the integer model in NumPy in input 1"
    assert LAYER in by_numpy[1]
    assert by_numpy[2:] == by_tflm[2:]
    assert_matches_reference(good, DIGITS, DIGITS_INT8)


def test_the_host_alone_proves_nothing_and_says_so(wrong: Blob) -> None:
    with pytest.warns(NarrowsWarning, match="compared with itself alone; give model="):
        assert_matches_reference(wrong, DIGITS)


def test_a_network_with_two_inputs(tmp_path: Path) -> None:
    net = Net(7)
    x, y = net.int8((1, 6, 5, 3), 0.1), net.int8((1, 6, 5, 4), 0.1)
    joined = net.binary("ADD", net.conv(x, (3, 3), 4), y, 0.1)
    path = tmp_path / "two.tflite"
    path.write_bytes(net.finish([x, y], [net.conv(joined, (1, 1), 2)]))
    compiled = compile_model(path)
    good = parse_blob(compiled.blob, "two")
    inputs = [net.rng.integers(-128, 128, (3, 6, 5, n)).astype(np.int8) for n in (3, 4)]
    assert_matches_reference(good, inputs, path)

    graph = compiled.qgraph
    names = [graph.tensors[op.output].name for op in graph.ops]
    wrong = parse_blob(pack(damaged(compiled, names[0], 8), compiled.plan, {}), "wrong")
    with pytest.raises(AssertionError, match=re.escape(f"first differing layer: {names[0]}")):
        assert_matches_reference(wrong, inputs, path)
    for bad, words in ((inputs[0], "2 inputs"), ([*inputs, inputs[0]], "2 inputs")):
        with pytest.raises(UsageError, match=words):
            assert_matches_reference(good, bad, path)
    with pytest.raises(UsageError, match="give as many for each"):
        assert_matches_reference(good, [inputs[0][:1], inputs[1]], path)


class Fickle(HostTarget):
    """The first answers are wrong."""

    def infer(
        self, inputs: Sequence[Int8Array], profile: bool = False, *, goes_on: bool = False
    ) -> Result:
        result = super().infer(inputs, profile, goes_on=goes_on)
        result.outputs[0][...] += 1
        return result


def test_a_target_that_changes_its_mind(good: Blob) -> None:
    lines = message(LoadedTarget(Fickle(good.data), good), DIGITS_INT8)
    assert lines[1] == "no layer that both can show differs when they run once more"
    assert lines[2] == "output probabilities: 10 of its 10 elements differ"


def test_what_users_do_wrong(good: Blob, tmp_path: Path) -> None:
    net = Net(1)
    x = net.int8((1, 32, 32, 1))
    other = tmp_path / "other.tflite"
    other.write_bytes(net.finish([x], [net.conv(x, (3, 3), 3)]))
    wrongs: list[tuple[object, object, type[NarrowsError], str]] = [
        (DIGITS[:, :7], DIGITS_INT8, InputError, r"input input: item 0: shape \(7, 32, 1\)"),
        ([], DIGITS_INT8, UsageError, "no inputs to compare"),
        (DIGITS, tmp_path / "none.tflite", NarrowsError, "none.tflite: cannot read the model"),
        (DIGITS, other, UsageError, "the model that the blob was compiled from"),
        (DIGITS, DIGITS_FLOAT, NarrowsError, "compiled from|in floats|Lite Micro"),
    ]
    for inputs, model, kind, words in wrongs:
        with pytest.raises(kind, match=words) as caught:
            assert_matches_reference(good, inputs, model)  # type: ignore[arg-type]
        # The test, and the assertion that hides itself: nothing of what is within.
        assert len(caught.traceback) == 2


class Failing(HostTarget):
    """The link fails."""

    def infer(
        self, inputs: Sequence[Int8Array], profile: bool = False, *, goes_on: bool = False
    ) -> Result:
        raise LinkError("the board does not answer")


def test_a_failure_of_the_link_breaks_a_target_and_a_wrong_input_does_not(good: Blob) -> None:
    loaded = LoadedTarget(HostTarget(good.data), good)
    with pytest.raises(InputError):
        loaded.infer([DIGITS[0][:3]])
    assert not loaded.broken
    loaded = LoadedTarget(Failing(good.data), good)
    with pytest.raises(LinkError) as caught:
        loaded.infer([DIGITS[0]])
    assert loaded.broken
    assert all("Failing" not in str(entry) for entry in caught.traceback)
