# SPDX-License-Identifier: Apache-2.0
"""The pytest plugin: models of a project run in its tests, on the host, in QEMU and on boards.

It is loaded by every pytest of an environment that has narrows, so what takes long to import is
imported where a test needs it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from narrows.errors import BlobError, NarrowsError, ToolError

if TYPE_CHECKING:
    from narrows.blob import Blob
    from narrows.boards import Board
    from narrows.testing.loaded import LoadedTarget
    from narrows.testing.session import ModelRequest, Session

_TARGET = re.compile(r"host|all|(qemu|rp2040js|serial):.+")
_MARKER = (
    'narrows(model="FILE" | blob="FILE", ram="64K", board="NAME"): the model of narrows_blob and '
    "narrows_board, by a path from the test file's folder or rootdir; ram and board as narrows "
    "compile takes them"
)
_ARGUMENTS = ("model", "blob", "ram", "board")

# Target -> whether it was asked for by its name, and not by "all".
_targets = pytest.StashKey[dict[str, bool]]()
# What a test asks for, or what is wrong with it.
_request = pytest.StashKey["ModelRequest | NarrowsError"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the tests run."""
    what = "host, qemu:BOARD, rp2040js:BOARD, serial:PORT, or all: host and every emulated board"
    parser.getgroup("narrows").addoption(
        "--narrows-target",
        action="append",
        metavar="TARGET",
        help=f"where tests with narrows_board run: {what}; may be repeated (default: host)",
    )
    parser.addini("narrows_target", f"targets, if no --narrows-target is given: {what}", "args")


def pytest_configure(config: pytest.Config) -> None:
    """Raises: pytest.UsageError: no such target."""
    config.addinivalue_line("markers", _MARKER)
    given = config.getoption("narrows_target")
    place = "--narrows-target" if given else "narrows_target"
    targets: dict[str, bool] = {}
    for spec in given or config.getini("narrows_target") or ["host"]:
        if not _TARGET.fullmatch(spec):
            raise pytest.UsageError(
                f"{place} {spec}: give host, qemu:BOARD, rp2040js:BOARD, serial:PORT or all"
            )
        try:
            names = _all_targets() if spec == "all" else [_checked(spec)]
        except NarrowsError as error:
            raise pytest.UsageError(f"{place} {spec}: {error}") from error
        for name in names:
            targets[name] = targets.get(name, False) or spec != "all"
    config.stash[_targets] = targets


def _all_targets() -> list[str]:
    from narrows.boards import load_boards

    boards = [board for board in load_boards() if board.emulator is not None]
    return ["host", *(f"{board.emulator}:{board.name}" for board in boards)]


def _board_of(spec: str) -> Board | None:
    """The board of an emulator's target."""
    kind, _, name = spec.partition(":")
    if kind not in ("qemu", "rp2040js"):
        return None
    from narrows.boards import load_board

    return load_board(name)


def _checked(spec: str) -> str:
    """Raises: NarrowsError: the emulator has no such board."""
    kind, _, name = spec.partition(":")
    board = _board_of(spec)
    if board is not None and board.emulator != kind:
        use = f"{board.emulator}:{name}" if board.emulator else "serial:PORT"
        raise NarrowsError(f"{kind} does not have board {name}; give {use}")
    return spec


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each target, unless it names its own."""
    own = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize") if mark.args]
    names = [n for o in own for n in (o.replace(",", " ").split() if isinstance(o, str) else o)]
    if "narrows_target" in metafunc.fixturenames and "narrows_target" not in names:
        targets = metafunc.config.stash[_targets]
        metafunc.parametrize("narrows_target", list(targets), indirect=True, scope="session")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What the tests that are left ask for, before the first of them begins.

    Raises: pytest.UsageError: a wrong argument, or a file that is not there.
    """
    for item in items:
        if "narrows_blob" not in getattr(item, "fixturenames", ()):
            continue
        try:
            request = _asked_for(item)
        except NarrowsError as error:
            # A worker of pytest-xdist can only report it as the failure of the test.
            if not _is_worker(config):
                raise pytest.UsageError(f"{item.nodeid}: {error}") from error
            item.stash[_request] = error
        else:
            if request is not None:
                item.stash[_request] = request


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _asked_for(item: pytest.Item) -> ModelRequest | None:
    """By the indirect parameter or the nearest marker; None: by neither, which is no mistake where
    another fixture takes the place of narrows_blob. Raises: NarrowsError."""
    callspec = getattr(item, "callspec", None)
    if callspec is not None and "narrows_blob" in callspec.params:
        value = callspec.params["narrows_blob"]
        if isinstance(value, (str, os.PathLike)):
            value = {"blob" if str(value).endswith(".nrw") else "model": value}
        return _parse(item, value) if isinstance(value, Mapping) else None
    mark = item.get_closest_marker("narrows")
    if mark is None:
        return None
    if mark.args:
        raise NarrowsError(f"narrows({mark.args[0]!r}): name the argument, as in model=")
    return _parse(item, mark.kwargs)


def _parse(item: pytest.Item, arguments: Mapping[str, Any]) -> ModelRequest:
    """Raises: NarrowsError."""
    for name, value in arguments.items():
        if name not in _ARGUMENTS:
            raise NarrowsError(f"narrows has no argument {name!r}; give {', '.join(_ARGUMENTS)}")
        if not isinstance(value, (str, os.PathLike) if name in ("model", "blob") else str):
            raise NarrowsError(f"{name}={value!r} is not text")
    kinds = [kind for kind in ("model", "blob") if kind in arguments]
    if len(kinds) != 1:
        raise NarrowsError("give either model= or blob= to narrows")
    if kinds == ["blob"] and len(arguments) > 1:
        raise NarrowsError("a blob is compiled already: give ram= and board= with model=")
    given = arguments[kinds[0]]
    folders = item.path.parent, item.config.rootpath
    path = next((folder / given for folder in folders if (folder / given).is_file()), None)
    if path is None:
        places = " or ".join(dict.fromkeys(str(folder / given) for folder in folders))
        raise NarrowsError(f"{kinds[0]}={str(given)!r}: there is no file {places}")

    from narrows.testing.session import ModelRequest

    request = ModelRequest(
        path, kinds == ["blob"], ram=arguments.get("ram"), board=arguments.get("board")
    )
    request.check()
    return request


# --- Fixtures -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def _narrows_session(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Session]:
    from narrows.testing.session import Session

    folder = tmp_path_factory.getbasetemp()
    if _is_worker(request.config):  # those of one run share its parent
        folder = folder.parent
    with Session(folder / "narrows") as session:
        yield session


@pytest.fixture(scope="session")
def narrows_target(request: pytest.FixtureRequest) -> str:
    """Where the test runs: host, qemu:BOARD or serial:PORT."""
    return str(request.param)


@pytest.fixture
def narrows_blob(request: pytest.FixtureRequest, _narrows_session: Session) -> Blob:
    """The model of the marker narrows(...) or of an indirect parameter, compiled; a Blob."""
    wanted = request.node.stash.get(_request, None)
    if wanted is None:
        pytest.fail(f"narrows_blob: which model? Mark the test with {_MARKER}", pytrace=False)
    if isinstance(wanted, NarrowsError):
        pytest.fail(str(wanted), pytrace=False)
    try:
        return _narrows_session.blob(wanted)
    except NarrowsError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def narrows_board(
    request: pytest.FixtureRequest,
    narrows_target: str,
    narrows_blob: Blob,
    _narrows_session: Session,
) -> Iterator[LoadedTarget]:
    """narrows_blob where it runs: infer, dump, name, blob (narrows.testing.LoadedTarget)."""
    is_explicit = request.config.stash[_targets].get(narrows_target, True)
    with contextlib.ExitStack() as stack:
        try:
            if not is_explicit and (reason := _too_large(narrows_target, narrows_blob)):
                pytest.skip(f"{narrows_target}: {reason}")
            board = stack.enter_context(_narrows_session.target(narrows_target, narrows_blob))
        except NarrowsError as error:
            _leave_out(narrows_target, is_explicit, error)
        yield board


def _too_large(spec: str, blob: Blob) -> str | None:
    """Why a blob has no place in the flash of a board."""
    board = _board_of(spec)
    if board is None or len(blob.data) <= board.models.room:
        return None
    return f"the blob has {len(blob.data):,} bytes, the board has room for {board.models.room:,}"


def _leave_out(spec: str, is_explicit: bool, error: NarrowsError) -> None:
    """Skip for want of a tool, or because a board of "all" is not made for the model; else fail."""
    from narrows.link import missing_tool
    from narrows.native import Status

    reason, board = str(error), _board_of(spec)
    misfits = (Status.ERR_MEMORY, Status.ERR_LAYOUT, Status.ERR_OPERATOR)
    is_missing = isinstance(error, ToolError) and board is not None and bool(missing_tool(board))
    if is_missing and is_explicit and os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(f"{reason} (in CI, a target asked for by its name must run)", pytrace=False)
    is_misfit = isinstance(error, BlobError) and error.status in misfits
    if is_missing or (is_misfit and not is_explicit):
        pytest.skip(reason)
    pytest.fail(reason, pytrace=False)
