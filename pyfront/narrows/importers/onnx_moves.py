# SPDX-License-Identifier: Apache-2.0
"""Builders of the operators of an ONNX graph that move or resample elements. A docstring ends a
line of the table of supported operators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Literal

import numpy as np

from narrows.graph.graph import MAX_DIMENSION, Array
from narrows.graph.moves import Rearrangement
from narrows.importers import build_moves as moves
from narrows.importers.build_layers import dimensions
from narrows.importers.onnx_constants import Integers
from narrows.importers.onnx_logic import as_number
from narrows.importers.onnx_node import NCHW, Node, is_nchw
from narrows.importers.onnx_upgrade import LEGACY_NEAREST
from narrows.importers.refusals import Refused
from narrows.importers.views import HEIGHT, WIDTH, AnyView, View


def _shape_of(node: Node, x: AnyView) -> tuple[int, ...]:
    rank, count = len(x.shape), prod(x.shape)
    if node.operator == "Flatten":
        axis = int(node.attribute("axis", 1))
        if not -rank <= axis <= rank:
            raise Refused(f"axis {axis}")
        axis += rank * (axis < 0)
        return (prod(x.shape[:axis]), prod(x.shape[axis:]))
    if node.operator == "Reshape":
        shape = node.ints(1, "shape")
        if not node.flag("allowzero"):
            if any(n == 0 and i >= rank for i, n in enumerate(shape)):
                raise Refused(f"shape {shape}")
            shape = [x.shape[i] if n == 0 else n for i, n in enumerate(shape)]
        if shape.count(-1) == 1:
            rest = -prod(shape)
            shape = [count // rest if n == -1 and rest > 0 else n for n in shape]
        if prod(shape) != count or min(shape, default=1) < 1:
            raise Refused(f"{list(x.shape)} into {shape}")
        return tuple(shape)
    axes = node.operand("axes", 1, None)
    if node.operator == "Squeeze":
        if axes is None:
            return tuple(n for n in x.shape if n != 1)
        dropped = dimensions(axes, rank)
        if any(x.shape[d] != 1 for d in dropped):
            raise Refused(f"axes {axes} of shape {list(x.shape)}")
        return tuple(n for d, n in enumerate(x.shape) if d not in dropped)
    if axes is None or rank + len(axes) > 8:
        raise Refused(f"axes {axes}")
    added = dimensions(axes, rank + len(axes))
    sizes = iter(x.shape)
    return tuple(1 if d in added else next(sizes) for d in range(rank + len(added)))


# Types of the numbers of elements that an ArgMax gives.
_NUMBERS = {"int32", "int64", "float32"}


def reshape(node: Node) -> None:
    """A constant shape; absorbed where it only joins or splits dimensions."""
    x = node.pieces(0)
    node.still_integers()
    node.result(node.importer.pieced(x, _shape_of(node, x)))


def identity(node: Node) -> None:
    """No change: Dropout in inference; Cast to the type that it has, of what is compared to
    float32, or of what an ArgMax gives to another type of numbers."""
    if node.operator == "Cast":
        integers = node.importer.integer.get(node.record.inputs[0])
        old, new = "float32" if integers is None else integers.kind, node.type_of("to")
        if (old, new) == ("bool", "float32"):
            node.result(as_number(node, node.view(0), node.name))
            return
        if {old, new} <= _NUMBERS and integers is not None:
            node.importer.integer[node.name] = Integers(new)
            node.result(node.pieces(0))
            return
        if new != old:
            raise Refused(f"from {old} to {new}")
    if node.operator == "Dropout" and node.importer.reads(node.record.outputs[1:]):
        raise Refused("its mask is read, which only training needs")
    if node.operator == "Dropout" and node.has(2) and node.constant(2, "mode").data.any():
        raise Refused("it is in training mode")
    node.still_integers()
    node.result(node.pieces(0))


def transpose(node: Node) -> None:
    """Any number of dimensions, of which up to five change places. Absorbed by Reshape, another
    Transpose, spatial operators that want NCHW, Gemm, elementwise operators and ReduceMean where
    these can."""
    x = node.pieces(0)
    order = [int(n) for n in node.attribute("perm", list(range(len(x.shape)))[::-1])]
    node.still_integers()
    node.result(moves.permuted(node, x, order))


def concat(node: Node) -> None:
    """Along height, width or channels."""
    views = [node.view(i) for i in range(node.input_count)]
    rank = len(views[0].shape)
    if any(len(v.shape) != rank for v in views):
        raise Refused("its inputs differ in rank")
    (d,) = dimensions([int(node.attribute("axis", 0))], rank)
    if rank == 4 and all(is_nchw(v) for v in views):
        views = [replace(v, axes=NCHW) for v in views]
    moves.concat(node, views, d)


def gather(node: Node) -> None:
    """Indices are a constant; they are up to 64 runs of equal steps."""
    indices = node.constant(1, "operand of indices").data
    x = node.pieces(0)
    (d,) = dimensions([int(node.attribute("axis", 0))], len(x.shape))
    moves.gather(node, x, d, np.where(indices < 0, indices + x.shape[d], indices))


def gather_nd(node: Node) -> None:
    """Indices are a constant of one dimension's; they are up to 64 runs of equal steps."""
    indices = node.constant(1, "operand of indices").data
    if indices.ndim < 1 or indices.shape[-1] != 1 or node.attribute("batch_dims", 0):
        raise Refused(f"indices of shape {list(indices.shape)}")
    x, whole = node.view(0), indices[..., 0]
    moves.gather(node, x, 0, np.where(whole < 0, whole + x.shape[0], whole))


def expand(node: Node) -> None:
    """A constant shape. Dimensions are repeated up to 64 times; height and width any number of
    times, and what an elementwise operator broadcasts is not repeated at all."""
    x, wanted = node.view(0), tuple(node.ints(1, "shape"))
    try:
        shape = np.broadcast_shapes(x.shape, wanted)
    except ValueError:
        raise Refused(f"from shape {list(x.shape)} to {list(wanted)}") from None
    if len(shape) > len(x.shape):
        x = node.importer.reshaped(x, (1,) * (len(shape) - len(x.shape)) + x.shape)
    if not node.importer.broadcasts(node.name):
        counts = [n // m for n, m in zip(shape, x.shape, strict=True)]
        x = moves.repeated(node, x, counts)
    node.result(x)


def tile(node: Node) -> None:
    """Repeats are a constant: up to 64 copies, of height and width of size 1 any number."""
    x, counts = node.view(0), node.ints(1, "repeats")
    if len(counts) != len(x.shape) or min(counts, default=1) < 1:
        raise Refused(f"repeats {counts} of shape {list(x.shape)}")
    node.result(moves.repeated(node, x, counts))


def cut(node: Node) -> None:
    """Starts, ends, axes and steps are constants; steps are positive, or reverse up to 64
    elements of one dimension and cut no other."""
    x = node.pieces(0)
    shape = x.shape
    starts, ends = node.ints(1, "starts"), node.ints(2, "ends")
    axes = node.ints(3, "axes") if node.has(3) else list(range(len(starts)))
    steps = node.ints(4, "steps") if node.has(4) else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) <= len(shape):
        raise Refused(f"ranges {starts}, {ends}, {axes}, {steps}")
    begin, step, size = [0] * len(shape), [1] * len(shape), list(shape)
    for b, e, d, s in zip(starts, ends, axes, steps, strict=True):
        (d,) = dimensions([d], len(shape))
        if not s:
            raise Refused("a step of 0")
        taken = range(shape[d])[b:e:s]
        if not taken:
            raise Refused("its result is empty")
        begin[d], step[d], size[d] = taken[0], s, len(taken)
    turned = [d for d, s in enumerate(step) if s < 0]
    if not turned:
        node.result(moves.cut_anywhere(node, x, begin, step, size))
        return
    if len(turned) > 1 or any(
        n != m for d, (n, m) in enumerate(zip(shape, size, strict=True)) if d not in turned
    ):
        raise Refused(f"steps {step}: one dimension can be reversed at a time, and none be cut")
    (d,) = turned
    moves.gather(node, x, d, begin[d] + step[d] * np.arange(size[d]))


def split(node: Node) -> None:
    """Sizes are a constant."""
    x = node.pieces(0)
    (d,) = dimensions([int(node.attribute("axis", 0))], len(x.shape))
    sizes = node.operand("split", 1, None)
    if sizes is None:
        each, parts = -(-x.shape[d] // node.output_count), node.output_count
        sizes = [each] * (parts - 1) + [x.shape[d] - each * (parts - 1)]
    moves.split(node, x, d, sizes)


def pad(node: Node) -> None:
    """Pads and value are constants; not of the batch. Folded into a convolution that reads it
    alone, if the value is 0. Modes reflect, edge and wrap add up to 63 elements to a dimension."""
    mode = node.attribute("mode", "constant")
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise Refused(f"mode {mode}")
    x = node.view(0)
    rank = len(x.shape)
    pads = node.ints(1, "pads")
    value = float(node.floats(2, "value").reshape(-1)[0]) if node.has(2) else 0.0
    axes = node.ints(3, "axes") if node.has(3) else list(range(rank))
    if len(pads) != 2 * len(axes) or not np.isfinite(value):
        raise Refused(f"pads {pads} of {rank} dimensions, value {value}")
    amounts = [(0, 0)] * rank
    for i, d in enumerate(axes):
        (d,) = dimensions([d], rank)
        amounts[d] = (pads[i], pads[i + len(axes)])
    if mode == "constant":
        moves.pad(node, x, amounts, value)
    else:
        moves.pad_with_itself(node, x, amounts, mode)


def resize(node: Node) -> None:
    """Nearest or linear of height and width, where TFLite takes its samples at the same places
    (with align_corners, half_pixel_centers or neither)."""
    x = _resizable(node)
    mode = node.attribute("mode", "nearest")
    transform = node.attribute("coordinate_transformation_mode", "half_pixel")
    rounding = node.attribute("nearest_mode", "round_prefer_floor")
    if mode not in ("nearest", "linear") or node.flag("antialias"):
        raise Refused(f"mode {mode}, antialias {node.flag('antialias')}")
    if node.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Refused("keep_aspect_ratio_policy")
    rank = len(x.shape)
    axes = [d % rank for d in node.attribute("axes", list(range(rank)))]
    by_size = node.has(3)
    values = node.constant(3 if by_size else 2, "sizes or scales").data.reshape(-1)
    if len(values) != len(axes) or not (np.isfinite(values) & (values > 0)).all():
        raise Refused(f"sizes or scales {values.tolist()}")
    storage = list(x.storage)
    matching = {(False, False), (False, True), (True, False)}
    for d, number in zip(axes, values.tolist(), strict=True):
        n = x.shape[d]
        out = int(number) if by_size else int(np.floor(n * np.float32(number)))
        scale = out / n if by_size else float(np.float32(number))
        if out == n and scale == 1:
            continue
        axis = x.axis(d)
        if axis not in (HEIGHT, WIDTH) or not 1 <= out <= MAX_DIMENSION:
            raise Refused(f"dimension {d} from {n} to {out}")
        storage[axis] = out
        wanted = _places(n, out, scale, transform)
        matching = {flags for flags in matching if _same_places(n, wanted, flags, mode, rounding)}
    if not matching:
        raise Refused(f"{mode}, {transform}, {rounding} takes samples where TFLite cannot")
    corners, centers = min(matching)
    function: Literal["nearest", "bilinear"] = "nearest" if mode == "nearest" else "bilinear"
    node.result(moves.resized(node, x, storage, function, corners=corners, centers=centers))


def _resizable(node: Node) -> View:
    """Input 0, whose length is stored as a height or width where it has three dimensions."""
    x = node.view(0)
    lines = len(x.shape) == 3 and x.shape[0] == 1 and x.axis(2) not in (HEIGHT, WIDTH)
    return node.pixels() if lines else x


def _places(n: int, out: int, scale: float, transform: str) -> Array:
    """Where ONNX samples, for each output position."""
    i = np.arange(out, dtype=np.float64)
    if transform == "asymmetric":
        return np.asarray(i / scale)
    if transform == "align_corners":
        return np.asarray(i * (n - 1) / (out - 1) if out > 1 else 0 * i)
    if transform == "half_pixel" or (transform == "pytorch_half_pixel" and out > 1):
        return np.asarray((i + 0.5) / scale - 0.5)
    if transform == "pytorch_half_pixel":
        return 0 * i
    raise Refused(f"coordinate_transformation_mode {transform}")


def _same_places(n: int, wanted: Array, flags: tuple[bool, bool], mode: str, rounding: str) -> bool:
    out = len(wanted)
    corners, centers = flags
    i = np.arange(out, dtype=np.float32)
    scale = np.float32(n - 1) / np.float32(out - 1) if corners and out > 1 else np.float32(n / out)
    if mode == "linear":
        real = (i + np.float32(0.5)) * scale - np.float32(0.5) if centers else i * scale
        near = np.abs(np.clip(real, 0, n - 1) - np.clip(wanted, 0, n - 1)) < 1e-4
        return bool(near.all())
    real = (i + np.float32(0.5 if centers else 0)) * scale
    taken = np.floor(real + np.float32(0.5)) if corners else np.floor(real)
    functions: dict[str, Callable[[Array], Array]] = {
        "floor": np.floor,
        "ceil": np.ceil,
        LEGACY_NEAREST: np.floor if out >= n else np.ceil,
        "round_prefer_floor": lambda p: np.ceil(p - 0.5),
        "round_prefer_ceil": lambda p: np.floor(p + 0.5),
    }
    if rounding not in functions:
        raise Refused(f"nearest_mode {rounding}")
    places = functions[rounding](wanted)
    return bool((np.clip(places, 0, n - 1) == np.clip(taken, 0, n - 1)).all())


def rearrangement(kind: type[Rearrangement]) -> Callable[[Node], None]:
    """The builder of an operator that only rearranges."""

    def build(node: Node) -> None:
        given = {name: node.attribute(name, None) for name in kind.in_onnx.fields}
        options = {kind.in_onnx.fields[n]: v for n, v in given.items() if v is not None}
        moves.rearrange(node, node.nchw(), kind, options)

    build.__doc__ = kind.constraints
    return build
