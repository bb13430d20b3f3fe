# SPDX-License-Identifier: Apache-2.0
"""Dilated convolutions that a ``.tflite`` file spells as three operators.

Keras computes a dilated convolution as SPACE_TO_BATCH_ND, which deals the pixels out to a batch of
smaller pictures, a convolution of these, and BATCH_TO_SPACE_ND, which puts them together again.
Here the three become one convolution with that dilation. The shapes in such files say batch 1 where
they were not known when the file was written. TensorFlow Lite Micro believes them and computes
something else; LiteRT finds the shapes when it runs, and its bytes are the ones that we give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from narrows.graph.graph import MAX_DIMENSION
from narrows.importers.refusals import Refused
from narrows.importers.tflite_file import ModelRecord, OperatorRecord, TensorRecord
from narrows.importers.tflite_node import Node, UnknownShape, same_quantization

TO_BATCH, TO_SPACE = "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
# How a convolution of one dimension gets its second one and loses it again.
_TO_RANK_4, _TO_RANK_3 = ("EXPAND_DIMS", "RESHAPE"), ("SQUEEZE", "RESHAPE")
_VALID = 1


def fold_dilations(record: ModelRecord) -> tuple[ModelRecord, tuple[str, ...]]:
    """The record with a convolution for each three operators that compute a dilated one, and what
    to tell of those that TensorFlow Lite Micro computes otherwise.

    An operator that cannot be folded stays; its option ``Reason`` says why.
    """
    begun = [op for op in record.operators if op.name == TO_BATCH]
    if not begun and all(op.name != TO_SPACE for op in record.operators):
        return record, ()
    folding = _Folding(record)
    for operator in begun:
        try:
            folding.fold(operator)
        except Refused as refusal:
            folding.keep(operator, str(refusal))
    for operator in list(folding.operators.values()):
        if operator.name == TO_SPACE:
            folding.keep(operator, f"no {TO_BATCH} begins what it ends")
    tensors, operators = tuple(folding.tensors), tuple(folding.operators.values())
    return replace(record, tensors=tensors, operators=operators), folding.notes()


def batches(node: Node) -> None:
    """SPACE_TO_BATCH_ND, a CONV_2D or DEPTHWISE_CONV_2D of stride 1 and BATCH_TO_SPACE_ND, which
    together are one dilated convolution."""
    raise UnknownShape(node.options["Reason"])


@dataclass(frozen=True)
class _Axis:
    """One dimension of the convolution that takes the place of the three operators."""

    dilation: int
    before: int
    after: int
    size: int


class _Folding:
    """A record on its way: tensors by their index, operators by their number in the file."""

    def __init__(self, record: ModelRecord) -> None:
        self.tensors = list(record.tensors)
        self.operators = {op.index: op for op in record.operators}
        self._outputs = frozenset(record.outputs)
        self._readers: dict[int, list[OperatorRecord]] = {}
        self._misread: list[str] = []
        for operator in record.operators:
            for index in operator.inputs:
                self._readers.setdefault(index, []).append(operator)

    def keep(self, operator: OperatorRecord, reason: str) -> None:
        self.operators[operator.index] = replace(operator, options={"Reason": reason})

    def notes(self) -> tuple[str, ...]:
        if not self._misread:
            return ()
        others = len(self._misread) - 1
        return (
            f"{self._misread[0]}: with the convolution behind it this is a dilated convolution, "
            "but the file states its batches as 1, and TensorFlow Lite Micro computes something "
            "else from that; narrows computes the convolution, as LiteRT does"
            + f"; so it does for {others} more"
            * (others > 0),
        )

    def fold(self, first: OperatorRecord) -> None:
        """Let one convolution take the place of the operators from ``first`` on.

        Raises: Refused.
        """
        _check_operands(first, 3)
        x = self.tensors[first.inputs[0]]
        rank = len(x.shape)
        if rank not in (3, 4) or x.shape[0] != 1:
            raise Refused(
                f"its input has shape {list(x.shape)}, [1, height, width, channels] expected"
            )
        expand = self._reader(first, _TO_RANK_4) if rank == 3 else None
        conv = self._reader(expand or first, _CONVOLUTIONS)
        squeeze = self._reader(conv, _TO_RANK_3) if rank == 3 else None
        last = self._reader(squeeze or conv, (TO_SPACE,))
        _check_operands(conv, 2)
        _check_operands(last, 3)
        self._check_scales(first)
        self._check_scales(last)
        place = 0 if expand is None else self._inserted(expand)
        axes = self._axes(x, place, first, conv, last)
        folded = self._folded(conv, axes)
        if expand is None or squeeze is None:
            folded = replace(
                folded, inputs=(first.inputs[0], *conv.inputs[1:]), outputs=last.outputs
            )
        else:
            sizes = list(x.shape)
            sizes.insert(place, 1)
            self._relabel(expand, first.inputs[0], expand.outputs[0])
            self._relabel(squeeze, conv.outputs[0], last.outputs[0])
            self._reshape(expand.outputs[0], sizes)
            channels = self.tensors[conv.outputs[0]].shape[-1]
            self._reshape(conv.outputs[0], [1, *(a.size for a in axes), channels])
        self.operators[conv.index] = folded
        del self.operators[first.index], self.operators[last.index]
        dealt = self.tensors[first.outputs[0]]
        if dealt.shape[:1] != (prod(a.dilation for a in axes),):
            self._misread.append(f"operator {first.index} {TO_BATCH} ({dealt.name})")

    def _reader(self, operator: OperatorRecord, names: Sequence[str]) -> OperatorRecord:
        """What alone reads an operator's output, if it has one of these names."""
        index = operator.outputs[0]
        readers = self._readers.get(index, [])
        if len(readers) != 1 or index in self._outputs or readers[0].inputs[0] != index:
            raise Refused(
                f"what {operator.name} gives is not read by one {' or '.join(names)} alone"
            )
        if readers[0].name not in names:
            raise Refused(f"a {readers[0].name} stands where a {' or '.join(names)} is expected")
        _check_operands(readers[0], 1)
        return readers[0]

    def _check_scales(self, operator: OperatorRecord) -> None:
        a, b = self.tensors[operator.inputs[0]], self.tensors[operator.outputs[0]]
        if a.dtype != b.dtype or (a.dtype != "float32" and not same_quantization(a, b)):
            raise Refused(f"what {operator.name} gives is not quantized as what it takes")

    def _inserted(self, expand: OperatorRecord) -> int:
        """Which dimension a tensor of one dimension gets: 1, the height, or 2, the width."""
        shape = self.tensors[expand.outputs[0]].shape
        if len(shape) != 4 or 1 not in shape[1:3]:
            raise Refused(f"its {expand.name} gives shape {list(shape)}")
        return 1 if shape[1] == 1 else 2

    def _numbers(self, operator: OperatorRecord, i: int, count: int) -> list[int]:
        tensor = self.tensors[operator.inputs[i]]
        if tensor.data is None or tensor.dtype not in ("int32", "int64"):
            raise Refused(f"{tensor.name} is not a constant of integers")
        numbers = [int(n) for n in tensor.data.reshape(-1)]
        if len(numbers) != count or any(not 0 <= n <= MAX_DIMENSION for n in numbers):
            raise Refused(f"{operator.name} of {numbers}")
        return numbers

    def _axes(
        self,
        x: TensorRecord,
        place: int,
        first: OperatorRecord,
        conv: OperatorRecord,
        last: OperatorRecord,
    ) -> list[_Axis]:
        """Height and width of the dilated convolution. place: the dimension that x has to get
        first, 0 if it has both."""
        count = len(x.shape) - 2
        blocks = self._numbers(first, 1, count)
        pads, crops = self._numbers(first, 2, 2 * count), self._numbers(last, 2, 2 * count)
        if self._numbers(last, 1, count) != blocks or min(blocks) < 1:
            raise Refused(f"{TO_BATCH} and {TO_SPACE} have other blocks")
        sizes = list(x.shape[1:-1])
        if place:  # a dimension of size 1 that is dealt out to one picture
            at = place - 1
            sizes.insert(at, 1)
            blocks.insert(at, 1)
            pads[2 * at : 2 * at] = crops[2 * at : 2 * at] = [0, 0]
        kernel = self.tensors[conv.inputs[1]].shape[1:3]
        if len(kernel) != 2:
            raise Refused(f"its {conv.name} has no kernel of height and width")
        inner = (conv.options["DilationHFactor"], conv.options["DilationWFactor"])
        if (conv.options["StrideH"], conv.options["StrideW"]) != (1, 1):
            raise Refused(f"its {conv.name} has another stride than 1")
        axes = []
        is_valid = conv.options["Padding"] == _VALID
        for i, (n, block, k, d) in enumerate(zip(sizes, blocks, kernel, inner, strict=True)):
            ends = slice(2 * i, 2 * i + 2)
            axes.append(_axis(n, k, block, d, pads[ends], crops[ends], is_valid=is_valid))
        return axes

    def _folded(self, conv: OperatorRecord, axes: Sequence[_Axis]) -> OperatorRecord:
        height, width = axes
        padding = {"Pads": ([a.before for a in axes], [a.after for a in axes])}
        dilation = {"DilationHFactor": height.dilation, "DilationWFactor": width.dilation}
        return replace(conv, options={**conv.options, **dilation, **padding})

    def _relabel(self, operator: OperatorRecord, source: int, target: int) -> None:
        """Let an operator only change the shape of another tensor, into another one."""
        self.operators[operator.index] = replace(
            operator, name="RESHAPE", inputs=(source,), outputs=(target,), options={}
        )

    def _reshape(self, index: int, shape: Sequence[int]) -> None:
        self.tensors[index] = replace(self.tensors[index], shape=tuple(shape))


def _check_operands(operator: OperatorRecord, count: int) -> None:
    """An operator has its first inputs, and one output."""
    if len(operator.inputs) < count or -1 in operator.inputs[:count] or len(operator.outputs) != 1:
        raise Refused(
            f"{operator.name} of {len(operator.inputs)} inputs and {len(operator.outputs)} outputs"
        )


def _axis(
    n: int,
    kernel: int,
    block: int,
    dilation: int,
    pads: Sequence[int],
    crops: Sequence[int],
    *,
    is_valid: bool,
) -> _Axis:
    """Rows or columns of the dilated convolution over n of them.

    Args:
        dilation: that of the convolution of each picture.
        is_valid: these convolutions do not pad their pictures, else they keep their size.
    """
    if (n + sum(pads)) % block != 0:
        raise Refused(f"blocks of {block} over {n} + {sum(pads)} rows or columns")
    reach = (kernel - 1) * dilation
    own = 0 if is_valid else reach  # what each picture is padded by
    size = ((n + sum(pads)) // block + own - reach) * block - sum(crops)
    before = pads[0] + own // 2 * block - crops[0]
    after = size - 1 + reach * block - before - (n - 1)
    if size < 1 or before < 0 or after < 0:
        raise Refused(f"paddings {list(pads)} and crops {list(crops)} are no convolution's")
    return _Axis(dilation * block, before, after, size)
