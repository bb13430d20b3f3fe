# SPDX-License-Identifier: Apache-2.0
"""What the tests of a session share: compiled models, targets that run, serial ports."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from narrows.blob import Blob, parse_blob, read_blob
from narrows.boards import Board, load_board
from narrows.budget import plan_options
from narrows.compiler import CompileOptions, compile_model
from narrows.errors import NarrowsWarning
from narrows.files import read_file, write_file
from narrows.importers import model_files
from narrows.result import Target
from narrows.targets import open_target
from narrows.testing.loaded import LoadedTarget

# A QEMU that waits takes no time, but some 40 MB.
_MOST_OPEN = 8


@dataclass(frozen=True)
class ModelRequest:
    """What a test asks for.

    path: of a blob, or of a model that is compiled.
    ram: a size, as ``narrows compile --ram`` takes it. board: a name. Both for models alone.
    """

    path: Path
    is_blob: bool
    ram: str | None = None
    board: str | None = None

    def check(self) -> None:
        """Raises: NarrowsError: there is no such board, or ram is no size."""
        plan_options(self.ram, self._board())

    def compile(self) -> bytes:
        """The blob of a model. Raises: NarrowsError."""
        options = CompileOptions(plan_options(self.ram, self._board()))
        compiled = compile_model(self.path, options)
        for text in compiled.report.get("warnings", ()):
            warnings.warn(f"{self.path}: {text}", NarrowsWarning, stacklevel=2)
        return compiled.blob

    def key(self) -> str:
        """Equal for equal contents and options. Raises: NarrowsError: a file cannot be read."""
        digest = hashlib.sha256(repr((self.ram, self._board())).encode())
        for path in model_files(str(self.path)):
            digest.update(hashlib.sha256(read_file(path, "model")).digest())
        return digest.hexdigest()

    def _board(self) -> Board | None:
        return None if self.board is None else load_board(self.board)


class Session:
    """Compiles each model once and starts each target once.

    folder: for blobs; sessions that share it, as the workers of pytest-xdist do, compile each model
    once together.

    A context manager; leaving it ends all targets.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._blobs: dict[tuple[Path, str], Blob] = {}
        self._targets: dict[tuple[str, bytes], Target] = {}

    def blob(self, request: ModelRequest) -> Blob:
        """Open or compile what a test asks for. Raises: NarrowsError."""
        key = request.path, request.key()
        if key not in self._blobs:
            if request.is_blob:
                self._blobs[key] = read_blob(request.path)
            else:
                blob = parse_blob(self._compiled(request, key[1]), str(request.path))
                self._blobs[key] = replace(blob, source=request.path)
        return self._blobs[key]

    def _compiled(self, request: ModelRequest, key: str) -> bytes:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{key}.nrw"
        with locked(path.with_suffix(".lock")):
            if not path.exists():
                write_file(path, request.compile())
            return path.read_bytes()

    @contextlib.contextmanager
    def target(self, spec: str, blob: Blob) -> Iterator[LoadedTarget]:
        """A target with a blob, for one test.

        A serial port is opened for the test alone, because others may wait for it; all else stays
        open for tests to come, unless it is broken.

        Raises: NarrowsError.
        """
        if spec.startswith("serial:"):
            with (
                locked(port_lock(spec)),
                open_target(spec, blob.data, signature=blob.signature) as target,
            ):
                yield LoadedTarget(target, blob)
            return
        key = spec, hashlib.sha256(blob.data).digest()
        if key not in self._targets:
            while len(self._targets) >= _MOST_OPEN:
                self._close(next(iter(self._targets)))
            self._targets[key] = open_target(spec, blob.data, signature=blob.signature).__enter__()
        # The one that was used last is the last to be closed.
        self._targets[key] = self._targets.pop(key)
        loaded = LoadedTarget(self._targets[key], blob)
        try:
            yield loaded
        finally:
            if loaded.broken:
                self._close(key)

    def _close(self, key: tuple[str, bytes]) -> None:
        self._targets.pop(key).__exit__(None, None, None)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.ExitStack() as stack:
            for key in list(self._targets):
                stack.callback(self._close, key)


def port_lock(spec: str) -> Path:
    """The lock file of a serial port, whatever link leads to it and whatever its baud rate."""
    port = re.sub(r"@\d+$", "", spec.removeprefix("serial:"))
    if os.path.exists(port):
        port = os.path.realpath(port)
    name = re.sub(r"[^A-Za-z0-9]+", "-", port).strip("-")[-40:]
    digest = hashlib.sha256(port.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"narrows-{name}-{digest}.lock"


if sys.platform == "win32":
    import msvcrt
    import time

    _FLAGS = os.O_RDWR | os.O_NOINHERIT

    def _lock(handle: int) -> None:
        """Wait for the lock; Windows itself gives up after ten seconds."""
        while True:
            with contextlib.suppress(OSError):
                msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
                return
            time.sleep(0.05)

else:
    import fcntl

    _FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made if need be; wait while another process has it.

    The kernel lets go of it when this process ends, in whatever way.
    """
    try:
        # Another user's file in a shared folder can be opened for reading alone.
        handle = os.open(path, _FLAGS)
    except FileNotFoundError:
        handle = os.open(path, _FLAGS | os.O_CREAT, 0o644)
    try:
        _lock(handle)
        yield
    finally:
        os.close(handle)
