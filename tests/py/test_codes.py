# SPDX-License-Identifier: Apache-2.0
"""Operator codes: an operator is the larger of ``builtin_code`` and ``deprecated_builtin_code``,
and current writers leave the second one empty."""

from __future__ import annotations

import numpy as np
import pytest
import tflite
from flatbuffers.number_types import Int8Flags, Int32Flags

from models import case, missing
from narrows.exporters.tflite import ModelWriter
from narrows.importers.tflite_file import read_model
from single import Net
from subjects import check

DEPRECATED, BUILTIN = 4, 10  # slots of an OperatorCode's vtable
# The operators whose code is 0, as which an empty deprecated code reads, and 127 and more.
ADD, LARGEST = 0, 127


# What ai-edge-quantizer is told to quantize: all but the edges, which stay float32.
INNER = ("CONV_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX")


def without(data: bytes, slot: int) -> bytes:
    """The file with one field of all operator codes 0, which is what an absent field reads as."""
    changed = bytearray(data)
    model = tflite.Model.GetRootAsModel(data, 0)
    for i in range(model.OperatorCodesLength()):
        table = model.OperatorCodes(i)._tab
        size = 1 if slot == DEPRECATED else 4
        place = table.Offset(slot) + table.Pos
        changed[place : place + size] = bytes(size)
    return bytes(changed)


def names(data: bytes) -> list[str]:
    return [operator.name for operator in read_model(data, "codes", {}).operators]


@pytest.mark.parametrize("slot", [DEPRECATED, BUILTIN])
def test_every_operator_has_its_name_by_either_code(slot: int) -> None:
    known = {k: v for k, v in vars(tflite.BuiltinOperator).items() if isinstance(v, int)}
    placeholder = known.pop("PLACEHOLDER_FOR_GREATER_OP_CODES")
    assert placeholder == LARGEST
    assert known["ADD"] == ADD
    writer = ModelWriter()
    x = writer.tensor((1, 4), scale=1.0)
    wanted = [k for k, v in known.items() if k != "CUSTOM" and (slot == DEPRECATED or v < LARGEST)]
    for name in wanted:
        writer.operator(name, [x], [x])
    assert names(without(writer.finish([x], [x]), slot)) == wanted


def test_a_custom_operator_keeps_its_name() -> None:
    net = Net(1)
    x, y = net.int8((1, 4)), net.int8((1, 4))
    net.operator("CUSTOM", [x], [y])
    data = net.finish([x], [y])
    assert names(data) == names(without(data, DEPRECATED)) == ["CUSTOM "]


def test_quantize_and_dequantize_at_the_edges() -> None:
    """As ai-edge-quantizer adds them: read as ADD, they have one operand too few."""
    net = Net(2)
    x, y = net.tensor((1, 6, 6, 3), "float32"), net.tensor((1, 6, 6, 4), "float32")
    inside = net.int8((1, 6, 6, 3))
    net.operator("QUANTIZE", [x], [inside], "QuantizeOptions", {})
    net.operator("DEQUANTIZE", [net.conv(inside, (3, 3), 4)], [y], "DequantizeOptions", {})
    check(without(net.finish([x], [y]), DEPRECATED), net.rng)


def test_operators_of_two_operands() -> None:
    """SUB, MUL and PRELU have as many operands as ADD, and would be computed as that."""
    net = Net(3)
    a, b = net.int8((1, 4, 4, 3)), net.int8((1, 4, 4, 3))
    y = net.binary("MUL", net.binary("SUB", a, b), net.binary("ADD", a, b), 0.5)
    y = net.prelu(y, net.constant((1, 1, 3)))
    check(without(net.finish([a, b], [y]), DEPRECATED), net.rng)


def test_a_file_of_ai_edge_quantizer() -> None:
    """It adds a QUANTIZE and a DEQUANTIZE, both without a deprecated code."""
    try:
        from ai_edge_litert.interpreter import Interpreter
        from ai_edge_quantizer import quantizer, recipe
    except ImportError:
        missing("ai-edge-quantizer or ai-edge-litert")
    source = case("cnn.float.tflite")
    interpreter = Interpreter(model_path=str(source))
    ((signature, ports),) = interpreter.get_signature_list().items()
    (port,) = ports["inputs"]
    rng = np.random.default_rng(5)
    samples = [{port: rng.uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)} for _ in range(4)]
    (whole,) = recipe.static_wi8_ai8()
    inner = [{**whole, "operation": n} for n in INNER]
    tool = quantizer.Quantizer(str(source), inner)
    data = bytes(tool.quantize(tool.calibrate({signature: samples})).quantized_model)
    model = tflite.Model.GetRootAsModel(data, 0)
    codes = [model.OperatorCodes(i)._tab for i in range(model.OperatorCodesLength())]
    added = [t for t in codes if not t.Offset(DEPRECATED)]
    assert {t.Get(Int32Flags, t.Offset(BUILTIN) + t.Pos) for t in added} == {
        tflite.BuiltinOperator.QUANTIZE,
        tflite.BuiltinOperator.DEQUANTIZE,
    }
    assert all(t.Get(Int8Flags, t.Offset(DEPRECATED) + t.Pos) >= 0 for t in codes if t not in added)
    found = names(data)
    assert (found[0], found[-1]) == ("QUANTIZE", "DEQUANTIZE")
    check(data, rng)
