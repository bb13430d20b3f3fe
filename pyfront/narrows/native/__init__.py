# SPDX-License-Identifier: Apache-2.0
"""The C runtime, as it goes to the board, called from Python.

The declarations come from the marked part of the public header; there is no copy. The
library is the runtime's own sources compiled for the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, wraps
from pathlib import Path
from threading import RLock, get_ident
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt
from cffi import FFI

from narrows.errors import BlobError, InputError, ToolError, UsageError
from narrows.graph.qgraph import Int8Array
from narrows.share import share_dir

HEADERS = ("host.h", "schedule.h", "firings.h", "forms.h", "conflicts.h", "place.h")
"""What the library has beside the runtime: running on the host, and the planner's loops."""

MAX_STEP_WORK = 1 << 30
"""``NRW_MAX_STEP_WORK``: the most work of one firing (runtime/SPEC.md, Work)."""

MAX_KERNEL_ROWS = 64
"""``NRW_MAX_KERNEL_H``: rows of a window that the runtime takes at once."""

_GUARD = 32
_GUARD_BYTE = 0xA5
_ALIGNMENT = 16

# How many steps lie between two looks at the clock: some tenths of a second on a computer of 2020.
_WORK_UNSEEN = 1 << 26


class Status(IntEnum):
    """``enum nrw_status``: 0 good, positive progress, negative failure."""

    OK = 0
    NEED_ROW = 1
    HAVE_ROW = 2
    DONE = 3
    ERR_ARGUMENT = -1
    ERR_TRUNCATED = -2
    ERR_MAGIC = -3
    ERR_VERSION = -4
    ERR_CRC = -5
    ERR_LAYOUT = -6
    ERR_STRUCTURE = -7
    ERR_MEMORY = -8
    ERR_STATE = -9
    ERR_STALLED = -10
    ERR_ALIGNMENT = -11
    ERR_OPERATOR = -12


class Layout(IntEnum):
    """``enum nrw_layout``: the order in which a family of kernels reads weights."""

    PLAIN = 0
    BLOCKED = 1
    PAIRED = 2


class Op(IntEnum):
    """``enum nrw_op``: stage kinds, numbered as in the blob."""

    INPUT = 0
    OUTPUT = 1
    CONV = 2
    DEPTHWISE = 3
    BOTTLENECK = 4
    ELEMENTWISE = 5
    AVG_POOL = 6
    MAX_POOL = 7
    MEAN = 8
    SOFTMAX = 9
    LOOKUP = 10
    CONCAT = 11
    RESIZE = 12
    PAD = 14
    MOVE = 18
    MATMUL = 19
    ARG_MAX = 20


class Form(IntEnum):
    """``enum nrw_form``: how a stage goes through its operator's work, numbered as in the blob."""

    SINGLE = 0
    ACCUMULATING = 1
    FOLDED = 2
    TILED = 3
    ROLLING = 4


_REFUSALS = {
    Status.ERR_ARGUMENT: "an argument is out of range",
    Status.ERR_TRUNCATED: "is shorter than its header says; copy it again or compile it anew",
    Status.ERR_MAGIC: "is not a narrows blob; make one with 'narrows compile'",
    Status.ERR_VERSION: "is written for another version of the blob format; compile the model anew",
    Status.ERR_CRC: "is damaged (checksum); copy it again or compile it anew",
    Status.ERR_LAYOUT: "has weights in a layout that this target has no kernels for; compile it "
    "with --board or --layout",
    Status.ERR_STRUCTURE: "has a field that is out of range; compile it anew",
    Status.ERR_MEMORY: "needs more memory than one of the memories has; compile it with --board",
    Status.ERR_STATE: "call out of order",
    Status.ERR_STALLED: "has a plan that stalls: no stage can fire; compile it anew",
    Status.ERR_ALIGNMENT: "stands at an address that is no multiple of 16; place it at one",
    Status.ERR_OPERATOR: "has an operator or a form that this build lacks; build firmware for it",
}


@dataclass(frozen=True)
class TensorInfo:
    """height, width, channels; strip: pixels of a row that come at a time (0: a constant);
    capacity: pixels in the arena; row_bytes: width * channels."""

    height: int
    width: int
    channels: int
    strip: int
    capacity: int
    row_bytes: int
    zero_point: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.height, self.width, self.channels

    @property
    def bytes(self) -> int:
        return self.height * self.row_bytes

    @property
    def strip_bytes(self) -> int:
        """What an input takes at a time."""
        return self.strip * self.channels


@dataclass(frozen=True)
class StageInfo:
    """op and form: what the stage does and how; output: number of the tensor that it writes, -1
    for none."""

    op: Op
    form: Form
    output: int


class Row(NamedTuple):
    """Row number ``row`` of output ``output``: int8 [width, channels]."""

    output: int
    row: int
    values: Int8Array


@cache
def load() -> tuple[Any, Any]:
    """(ffi, library)."""
    here = Path(__file__).parent
    ffi = FFI()
    runtime = share_dir() / "runtime"
    include = runtime / "include"
    public = (
        *(include / name for name in ("narrows.h", "narrows_detection.h")),
        runtime / "kernels" / "layouts.h",
    )
    headers = (*public, *(here / name for name in HEADERS))
    ffi.cdef("\n".join(_declarations(path) for path in headers))
    library = here / "_runtime.so"
    try:
        lib = ffi.dlopen(str(library))
    except OSError as error:
        raise ToolError(
            f"{library}: cannot be loaded ({error}); install the package anew: pip install ."
        ) from error
    for name in ("model", "run", "tensor_info"):
        if getattr(lib, f"host_sizeof_{name}")() != ffi.sizeof(f"struct nrw_{name}"):
            raise ToolError(f"{library}: older than its header; install anew: pip install .")
    return ffi, lib


def pointer(kind: str, values: npt.NDArray[Any] | None) -> Any:
    """To an array's values, for C; NULL for none. The array must outlive it."""
    ffi, _ = load()
    return ffi.NULL if values is None else ffi.cast(kind, values.ctypes.data)


def _declarations(path: Path) -> str:
    """What stands between the marks of a header."""
    text = path.read_text(encoding="utf-8")
    return text.split("/* cffi: begin */", 1)[1].split("/* cffi: end */", 1)[0]


def max_step_work(blob: bytes) -> int:
    """What the header of a blob must say, whose other fields are right.

    Raises: BlobError: they are not; its offset says where.
    """
    ffi, lib = load()
    copy = _aligned(len(blob))[_GUARD:-_GUARD]
    copy[:] = np.frombuffer(blob, np.uint8)
    work, offset = ffi.new("uint32_t *"), ffi.new("uint32_t *")
    address = ffi.cast("const void *", copy.ctypes.data)
    status = lib.host_max_step_work(address, len(blob), work, offset)
    if status < 0:
        raise BlobError(f"blob: {describe(status)} (byte {offset[0]})", status, int(offset[0]))
    return int(work[0])


def _aligned(size: int) -> npt.NDArray[np.uint8]:
    """``size`` bytes whose address divides by 16, between two guards."""
    block = np.full(size + 2 * _GUARD + _ALIGNMENT, _GUARD_BYTE, np.uint8)
    start = _GUARD + -(block.ctypes.data + _GUARD) % _ALIGNMENT
    return block[start - _GUARD : start + size + _GUARD]


def describe(status: int) -> str:
    """What a negative status says of a blob, and what to do."""
    try:
        return _REFUSALS[Status(status)]
    except (ValueError, KeyError):
        return f"status {status}"


class Model:
    """An opened blob.

    Args:
        blob: the whole file; a copy is kept.
        name: what errors call it, such as the path.

    Attributes:
        output_tensors: per output, the number of its tensor.
        first_outputs: per output, the first one that is the same tensor: handed out by rows, it
            stands for all of them.
        max_step_work: the most that one step computes (runtime/SPEC.md, Work).

    Threads may share a model; each needs a run of its own.

    Raises: BlobError: the runtime refuses it.
    """

    def __init__(self, blob: bytes | bytearray | memoryview, name: str = "blob") -> None:
        ffi, lib = load()
        self.name = name
        self._bytes = _aligned(len(blob))[_GUARD:-_GUARD]
        self._bytes[:] = np.frombuffer(blob, np.uint8)
        self._address = ffi.cast("const void *", self._bytes.ctypes.data)
        self.pointer = ffi.new("struct nrw_model *")
        self._check(lib.nrw_open(self.pointer, self._address, len(blob)))
        self.arena_bytes = int(lib.nrw_arena_bytes(self.pointer))
        self.progress_bytes = int(lib.nrw_progress_bytes(self.pointer))
        self.memory_bytes = int(lib.nrw_memory_bytes(self.pointer))
        self.state_bytes = int(lib.host_sizeof_model() + lib.host_sizeof_run())
        self.inputs = tuple(
            self._info(lib.nrw_input_info, i) for i in range(self.pointer.input_count)
        )
        self.outputs = tuple(
            self._info(lib.nrw_output_info, i) for i in range(self.pointer.output_count)
        )
        self.max_step_work = int(lib.nrw_max_step_work(self.pointer))
        self.output_tensors = tuple(
            int(lib.nrw_output_tensor(self.pointer, i)) for i in range(len(self.outputs))
        )
        first: dict[int, int] = {}
        self.first_outputs = tuple(
            first.setdefault(tensor, i) for i, tensor in enumerate(self.output_tensors)
        )
        self.tensors = tuple(
            self._info(lib.nrw_tensor_info, i) for i in range(self.pointer.tensor_count)
        )
        self.stages = tuple(
            StageInfo(
                Op(lib.nrw_stage_op(self.pointer, i)),
                Form(lib.nrw_stage_form(self.pointer, i)),
                lib.nrw_stage_output(self.pointer, i),
            )
            for i in range(self.pointer.stage_count)
        )

    def stage_macs(self) -> list[int]:
        """Multiply-accumulates of each stage in one inference."""
        lib = load()[1]
        return [int(lib.host_stage_macs(self.pointer, i)) for i in range(len(self.stages))]

    def verify(self) -> None:
        """Check the CRC over all bytes. Raises: BlobError."""
        self._check(load()[1].nrw_verify(self.pointer))

    def _info(self, function: Any, index: int) -> TensorInfo:
        info = load()[0].new("struct nrw_tensor_info *")
        self._check(function(self.pointer, index, info))
        return TensorInfo(
            info.height,
            info.width,
            info.channels,
            info.strip,
            info.capacity,
            info.row_bytes,
            info.zero_point,
        )

    def _check(self, status: int) -> None:
        if status < 0:
            offset = int(self.pointer.error_at)
            where = f" (byte {offset})" if status == Status.ERR_STRUCTURE else ""
            raise BlobError(f"{self.name}: {describe(status)}{where}", status, offset)


@dataclass
class Measured:
    """stage_seconds: per stage; stack_bytes: of the runtime, by a painted stack."""

    stage_seconds: list[float]
    stack_bytes: int


_P = ParamSpec("_P")
_T = TypeVar("_T")


def _by_its_thread(
    method: Callable[Concatenate[Run, _P], _T],
) -> Callable[Concatenate[Run, _P], _T]:
    """A method of Run for the thread alone that began the inference, one at a time."""

    @wraps(method)
    def guarded(self: Run, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        with self._lock:
            if self._thread != get_ident():
                raise UsageError(
                    f"{self.model.name}: another thread has begun an inference in this run; "
                    "make a Run for each thread (they may share the Model)"
                )
            return method(self, *args, **kwargs)

    return guarded


class Run:
    """Memory for one inference at a time, between guards that are checked after each.

    The inference belongs to the thread that began it, by making the run, ``start`` or ``infer``. Of
    threads that share a run, each ``infer`` waits for the one before; another thread that goes
    on with an inference by steps is refused.

    Raises: BlobError: the blob does not fit or stalls. UsageError: it is another thread's.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.measured = Measured([], 0)
        self._ffi, self._lib = load()
        self._memory = _aligned(model.memory_bytes)
        self._run = self._ffi.new("struct nrw_run *")
        self._lock = RLock()
        self._thread = get_ident()
        self.start()

    def start(self, *, goes_on: bool = False) -> None:
        """Begin anew; goes_on: as ``infer`` has it."""
        memory = self._memory[_GUARD:-_GUARD]
        address = self._ffi.cast("void *", memory.ctypes.data)
        with self._lock:
            self._thread = get_ident()
            if goes_on:
                self._check(self._lib.nrw_next(self._run))
                return
            self._check(self._lib.nrw_start(self._run, self.model.pointer, address, memory.size))

    @property
    def variables(self) -> list[Int8Array]:
        """What the model remembers of earlier inferences, as this one began with it: views of its
        memory, flat, that may be written before the first step."""
        found: list[Int8Array] = []
        size, base = self._ffi.new("uint32_t *"), self._memory.ctypes.data
        while address := self._lib.nrw_variable(self._run, len(found), size):
            at = int(self._ffi.cast("uintptr_t", address)) - base
            found.append(self._memory[at : at + size[0]].view(np.int8))
        return found

    @_by_its_thread
    def step(self) -> Status:
        """Fire one stage: OK, NEED_ROW, HAVE_ROW or DONE."""
        return self._check(self._lib.nrw_step(self._run))

    @_by_its_thread
    def wanted_input(self) -> int:
        """The input that is due; -1 if none is."""
        return int(self._lib.nrw_wanted_input(self._run))

    @_by_its_thread
    def due_bytes(self) -> int:
        """Bytes of a row that are due; 0 if none are."""
        return int(self._lib.nrw_due_bytes(self._run))

    @_by_its_thread
    def push(self, pixels: Int8Array) -> None:
        """Give what is due, a row or the part of one: int8 of any shape.

        Raises: InputError: wrong type or size. BlobError: nothing is due.
        """
        due = self.due_bytes()
        if due:
            if pixels.dtype != np.int8 or pixels.nbytes != due:
                raise InputError(
                    f"{due} int8 of input {self.wanted_input()} are due, "
                    f"not {pixels.size} {pixels.dtype}"
                )
            slot = self._lib.nrw_row_slot(self._run)
            self._ffi.memmove(slot, pixels.tobytes(), due)
        self._check(self._lib.nrw_push_slot(self._run))

    @_by_its_thread
    def push_row(self, row: Int8Array) -> None:
        """Give the whole row that is due: int8 [width, channels] or as many bytes.

        Raises: InputError: wrong type or size. BlobError: no row is due, or only a part of one.
        """
        wanted = self.wanted_input()
        if wanted >= 0 and (
            row.dtype != np.int8 or row.nbytes != self.model.inputs[wanted].row_bytes
        ):
            raise InputError(
                f"a row of input {wanted} is {self.model.inputs[wanted].row_bytes} int8, "
                f"not {row.size} {row.dtype}"
            )
        values = np.ascontiguousarray(row)
        self._check(
            self._lib.nrw_push_row(self._run, self._ffi.cast("const int8_t *", values.ctypes.data))
        )

    @_by_its_thread
    def take_row(self) -> Row:
        """Take the row that HAVE_ROW offers."""
        row = self._ffi.new("const void **")
        output, index = self._ffi.new("int *"), self._ffi.new("int *")
        self._check(self._lib.nrw_take_row(self._run, row, output, index))
        info = self.model.outputs[output[0]]
        return Row(output[0], index[0], self._array(row[0], info.shape[1:]))

    @_by_its_thread
    def output(self, index: int) -> Int8Array | None:
        """After DONE: int8 [height, width, channels]; None if it was handed out by rows."""
        pointer = self._lib.nrw_output(self._run, index)
        if pointer == self._ffi.NULL:
            return None
        return self._array(pointer, self.model.outputs[index].shape)

    @_by_its_thread
    def last_stage(self) -> int:
        """The stage that fired last; -1 before the first."""
        return int(self._lib.nrw_last_stage(self._run))

    @_by_its_thread
    def tensor_pixels(self, tensor: int) -> int:
        """Pixels of a tensor produced so far."""
        return int(self._lib.nrw_tensor_pixels(self._run, tensor))

    @_by_its_thread
    def tensor_pixel(self, tensor: int, number: int) -> Int8Array | None:
        """int8 [channels] while the pixel y * width + x is in the ring, else None."""
        pointer = self._lib.nrw_tensor_pixel(self._run, tensor, number)
        if pointer == self._ffi.NULL:
            return None
        return self._array(pointer, self.model.tensors[tensor].shape[2:])

    def infer(
        self, inputs: Sequence[Int8Array], measure: bool = False, *, goes_on: bool = False
    ) -> list[Int8Array]:
        """One whole inference, all of it in C.

        Args:
            inputs: int8 [height, width, channels] each, or any shape with as many elements.
            measure: fill ``measured``.
            goes_on: with what the model remembers of the inference before this one, if that has
                ended; if not, of those before that.

        Returns: int8 [height, width, channels] per output.

        Raises: InputError: inputs that do not fit. BlobError: a plan that stalls.
        """
        times = np.zeros(len(self.model.stages), np.uint64)
        stage_ns, stack = self._ffi.NULL, self._ffi.NULL
        if measure:
            stage_ns = self._ffi.cast("uint64_t *", times.ctypes.data)
            stack = self._ffi.new("uint32_t *")
        most = 0

        def go_on(steps: int, sources: list[Any], results: list[Any]) -> int:
            nonlocal most
            status = self._lib.host_infer(self._run, steps, sources, results, stage_ns, stack)
            most = max(most, stack[0] if measure else 0)
            return int(status)

        outputs = self._to_its_end(inputs, go_on, goes_on)
        if measure:
            self.measured = Measured((times / 1e9).tolist(), most)
        return outputs

    def observe(
        self,
        inputs: Sequence[Int8Array],
        values: Sequence[Int8Array],
        unseen: Sequence[npt.NDArray[np.bool_]],
        reached: npt.NDArray[np.uint32],
    ) -> list[Int8Array]:
        """``infer``, and every tensor as it comes into being; see host_observe in host.h.

        Args:
            values, unseen: for each tensor int8 and bool [height, width, channels]; filled.
            reached: [tensors]; filled.
        """
        cast, new = self._ffi.cast, self._ffi.new
        pointers = (
            new("int8_t *[]", [cast("int8_t *", array.ctypes.data) for array in values]),
            new("uint8_t *[]", [cast("uint8_t *", array.ctypes.data) for array in unseen]),
            cast("uint32_t *", reached.ctypes.data),
        )
        seen = new("struct host_seen *", pointers)
        return self._to_its_end(
            inputs,
            lambda steps, sources, results: int(
                self._lib.host_observe(self._run, steps, sources, results, seen)
            ),
        )

    def _to_its_end(
        self,
        inputs: Sequence[Int8Array],
        go_on: Callable[[int, list[Any], list[Any]], int],
        goes_on: bool = False,
    ) -> list[Int8Array]:
        """A whole inference. go_on: called with how many steps it does unseen, and pointers to
        inputs and outputs, until it does not return OK."""
        infos = self.model.inputs
        if len(inputs) != len(infos):
            raise InputError(f"{self.model.name} has {len(infos)} inputs, not {len(inputs)}")
        for i, (values, info) in enumerate(zip(inputs, infos, strict=True)):
            if values.dtype != np.int8 or values.size != info.bytes:
                raise InputError(
                    f"input {i} is int8 {info.shape}, not {values.dtype} {values.shape}"
                )
        given = [np.ascontiguousarray(values) for values in inputs]
        results = [np.zeros(info.shape, np.int8) for info in self.model.outputs]
        cast = self._ffi.cast
        sources = [cast("const int8_t *", values.ctypes.data) for values in given]
        outputs = [cast("int8_t *", values.ctypes.data) for values in results]
        steps = max(1, _WORK_UNSEEN // self.model.max_step_work)
        status = int(Status.OK)
        with self._lock:
            self.start(goes_on=goes_on)
            while status == Status.OK:
                status = go_on(steps, sources, outputs)
            self.check_guards()
        self._check(status)
        return [results[first] for first in self.model.first_outputs]

    def check_guards(self) -> None:
        """Prove that nothing beside the memory was written. AssertionError: a bug."""
        guards = np.concatenate((self._memory[:_GUARD], self._memory[-_GUARD:]))
        assert (guards == _GUARD_BYTE).all(), "the runtime wrote outside its memory"

    def _array(self, pointer: Any, shape: tuple[int, ...]) -> Int8Array:
        size = int(np.prod(shape))
        values: Int8Array = np.frombuffer(self._ffi.buffer(pointer, size), np.int8).copy()
        return values.reshape(shape)

    def _check(self, status: int) -> Status:
        if status < 0:
            raise BlobError(f"{self.model.name}: {describe(status)}", status)
        return Status(status)


def layouts() -> tuple[Layout, ...]:
    """The weight layouts that this build has kernels for: all of them."""
    bits = int(load()[1].nrw_layouts())
    return tuple(layout for layout in Layout if bits >> layout & 1)


def conv_pack(layout: int, weights: Int8Array) -> bytes:
    """The weights of a convolution in a layout. weights: int8 [out, height, width, in]."""
    ffi, lib = load()
    out, height, width, channels = weights.shape
    shape = ffi.new("struct nrw_filter_shape *", (height, width, channels, out))
    packed = ffi.new("int8_t[]", int(lib.nrw_conv_weight_bytes(layout, shape)))
    plain = np.ascontiguousarray(weights, np.int8)
    lib.nrw_conv_pack(layout, shape, ffi.cast("const int8_t *", plain.ctypes.data), packed)
    return bytes(ffi.buffer(packed))
