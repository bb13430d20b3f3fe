# SPDX-License-Identifier: Apache-2.0
"""Stage: what one record of the engine does, and the memory that belongs to it."""

from __future__ import annotations

from dataclasses import dataclass

from narrows.native import Form


@dataclass(frozen=True)
class Extent:
    """Bytes of the arena that belong to a stage."""

    offset: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Stage:
    """One or several operators of the QGraph that fire together.

    ops: indices into ``QGraph.ops``. One index is that operator; several are a bottleneck:
        an optional 1x1 convolution (expansion), a depthwise convolution, an optional 1x1
        convolution (projection) and an optional ADD of the stage's input, in this order.
    strip: columns per firing: of the output, or of the input if the form is ACCUMULATING.
    form: how it goes through its work (runtime/SPEC.md, Forms). SINGLE: a strip of the output
        from the windows over its inputs. ACCUMULATING: it adds its input up strip by strip.
        FOLDED: a depthwise that takes its input row by row and keeps one row, or what two add up
        to. TILED: a bottleneck that expands anew for every tile, by channel slices. ROLLING: a
        bottleneck that expands columns from left to right, each once for an output row.
    slice: (TILED) channels expanded, filtered and projected at a time; (ROLLING) all.
    row_tile: (TILED) output rows per firing; 1 for everything else.
    col_tile: (TILED, ROLLING) output columns computed at a time.
    kept_rows: (ROLLING) expanded rows in line buffers for the next output row; with
        ``kernel_h - stride_h`` of them nothing is computed twice.
    state: bytes that live from one firing to the next.
    scratch: bytes used during one firing.
    """

    ops: tuple[int, ...]
    strip: int
    form: Form = Form.SINGLE
    slice: int = 0
    row_tile: int = 1
    col_tile: int = 0
    kept_rows: int = 0
    state: Extent = Extent()
    scratch: Extent = Extent()
