# SPDX-License-Identifier: Apache-2.0
"""A target together with the blob that is loaded there: what the fixture ``narrows_board`` is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from narrows.blob import Blob
from narrows.data import load_input
from narrows.errors import InputError
from narrows.graph.edges import Array, encode
from narrows.graph.qgraph import Int8Array
from narrows.native.observe import Dump
from narrows.result import Result, Target

T = TypeVar("T")


class LoadedTarget:
    """A ``Target`` that knows its blob. Whoever made it ends it, so leaving it does nothing.

    name: the target, as ``open_target`` takes it. blob: what is loaded there.
    broken: a call has failed or was interrupted, so nothing is known of the target any more.
    """

    def __init__(self, target: Target, blob: Blob) -> None:
        self.name = target.name
        self.blob = blob
        self.broken = False
        self._target = target

    def infer(
        self, inputs: Sequence[Array], profile: bool = False, *, goes_on: bool = False
    ) -> Result:
        """Run once; see ``Target``. Arrays that are not int8 are converted as the model says: those
        of its own type, and floats, which are quantized."""
        __tracebackhide__ = True
        return self._call(
            lambda: self._target.infer(self._inside(inputs), profile, goes_on=goes_on)
        )

    def dump(self, inputs: Sequence[Array], tensor: int | None = None) -> Dump:
        """Run once and see tensors; see ``Target``, and ``infer`` for the arrays."""
        __tracebackhide__ = True
        return self._call(lambda: self._target.dump(self._inside(inputs), tensor))

    def _inside(self, inputs: Sequence[Array]) -> list[Int8Array]:
        """A wrong number of them is left to the target to report."""
        given = list(inputs)
        for number, (values, edge) in enumerate(zip(inputs, self.blob.inputs, strict=False)):
            if values.dtype != np.int8:
                outside = load_input(edge, self.blob.preprocessing, values, f"input {number}")
                given[number] = encode(edge, outside)
        return given

    def _call(self, call: Callable[[], T]) -> T:
        """The traceback of an error begins where the test called, not inside the link."""
        __tracebackhide__ = True
        try:
            return call()
        except InputError as error:  # refused before anything was sent
            raise error.with_traceback(None) from None
        except BaseException as error:
            self.broken = True
            raise error.with_traceback(None) from None

    def __enter__(self) -> LoadedTarget:
        return self

    def __exit__(self, *_: object) -> None:
        pass
