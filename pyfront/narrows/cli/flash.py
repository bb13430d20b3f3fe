# SPDX-License-Identifier: Apache-2.0
"""``narrows flash``: firmware and model, or a model alone, onto a board."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from narrows.blob import Blob, read_blob
from narrows.boards import Board, load_board
from narrows.budget import remarks
from narrows.cli.build import (
    add_firmware,
    build_firmware,
    check_no_firmware,
    check_signed,
    key_of,
)
from narrows.cli.console import count, progress_bar, warn
from narrows.cli.places import add_input, add_json
from narrows.errors import LinkError, UsageError
from narrows.flash.contents import check_model, model_segments, total_bytes, update_of
from narrows.flash.over_link import Update, check_board, check_written, connect, write_model
from narrows.flash.tool import Job
from narrows.flash.tools import TOOLS, choose_tool
from narrows.link.image import load_segments
from narrows.link.line import PortError
from narrows.link.target import split_baud
from narrows.result import Progress

_LINK, _AUTO = "link", "auto"
# Firmware that runs answers a HELLO in milliseconds, or at the end of a firing.
_TRIAL_SECONDS = 5.0

_HELP = """\
for example

  narrows flash model.nrw --port /dev/ttyACM0                   the firmware runs there: a new model
  narrows flash model.nrw --board microbit                      firmware and model, by a debug probe
  narrows flash --board microbit                                the firmware alone; models stay
  narrows flash model.nrw --board my/board.toml --via openocd --model-only

Over the link the old model runs on until all of the new one has arrived and been found whole, if it
is no larger than half of the board's model memory. An upload that was broken off goes on where it
was. 'narrows boards' lists the boards; boards/README.md says which tools write them."""


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "flash",
        help="put firmware and a model onto a board",
        description="Put firmware and a model onto a board.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_input(parser, "blob", metavar="BLOB", nargs="?", help="the model; none: firmware alone")
    add_input(parser, "--board", metavar="NAME", help="which board it is; see 'narrows boards'")
    parser.add_argument(
        "--port",
        metavar="PORT",
        help="the board's serial port, optionally with @BAUD; or the folder of its UF2 drive",
    )
    parser.add_argument(
        "--via",
        default=_AUTO,
        choices=[_AUTO, _LINK, *TOOLS],
        help="auto (default): over the link if firmware answers at the port, and none other is "
        "asked for; else by the first of the board's tools that can",
    )
    parser.add_argument("--probe", metavar="SERIAL", help="which debug probe, if there are several")
    parser.add_argument("--model-only", action="store_true", help="leave the firmware as it is")
    parser.add_argument(
        "--force", action="store_true", help="even if the board says that it is another one"
    )
    add_firmware(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write, check, and say what was done."""
    blob = None if arguments.blob is None else read_blob(arguments.blob)
    board = None if arguments.board is None else load_board(arguments.board)
    if blob is None and (arguments.model_only or arguments.via == _LINK):
        what = "--model-only" if arguments.model_only else "--via link"
        raise UsageError(f"{what} writes a model alone: give a BLOB")
    if arguments.via == _LINK and arguments.port is None:
        raise UsageError("--via link: give the board's --port")
    if arguments.model_only or arguments.via == _LINK:
        check_no_firmware(arguments, "--model-only" if arguments.model_only else "--via link")
    with progress_bar() as progress:
        report = _over_link(arguments, board, blob, progress)
        if report is None:
            report = _by_tool(arguments, board, blob, progress)
    arguments.outputs.write_json(report)
    print(_line(report))
    if blob is not None:
        warn(arguments.blob, remarks(blob.header.layout, board))
    return 0


def _over_link(
    arguments: argparse.Namespace, board: Board | None, blob: Blob | None, progress: Progress
) -> dict[str, Any] | None:
    """Returns: None if it is to be done by a tool."""
    port, trial = arguments.port, arguments.via == _AUTO
    if blob is None or port is None or arguments.via not in (_AUTO, _LINK) or _is_drive(port):
        return None
    if trial and any(getattr(arguments, name) for name in ("key", "protocol", "compiler")):
        return None  # it is about the firmware
    with contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(connect(port, blob, _TRIAL_SECONDS if trial else None))
        except PortError:
            raise
        except LinkError as error:
            if not trial or board is None or not board.flash.tools:
                raise
            warn(board.name, [f"not over the link: {error}"])
            return None
        update = Update(blob, arguments.blob, board, arguments.force)
        written = write_model(client, update, progress, lambda text: warn(update.name, [text]))
        return {
            "board": client.hello.board,
            "via": _LINK,
            "where": port,
            "firmware": False,
            "model": _describe(blob),
            "written_bytes": len(blob.data) if written else 0,
            "checked": _LINK,
        }


def _by_tool(
    arguments: argparse.Namespace, board: Board | None, blob: Blob | None, progress: Progress
) -> dict[str, Any]:
    if board is None:
        raise UsageError("give --board, for the firmware and the tool that writes it")
    if blob is not None:
        check_model(board, blob, arguments.blob)
        check_signed(blob, arguments.blob, key_of(arguments))
    port = arguments.port
    if port is not None and not _is_drive(port):
        port, _ = split_baud(port)
    job = Job(board, (), port, arguments.probe, progress)
    tool = choose_tool(job, None if arguments.via == _AUTO else arguments.via)
    segments = [] if blob is None else model_segments(board, blob)
    if not arguments.model_only:
        segments += load_segments(build_firmware(arguments, board, progress))
    where = tool.write(replace(job, segments=sorted(segments)))
    checked = tool.name
    if arguments.port is not None and not _is_drive(arguments.port):
        _check_over_link(arguments.port, board, blob, arguments.force)
        checked = _LINK
    return {
        "board": board.name,
        "via": tool.name,
        "where": where,
        "firmware": not arguments.model_only,
        "model": None if blob is None else _describe(blob),
        "written_bytes": total_bytes(segments),
        "checked": checked,
    }


def _check_over_link(port: str, board: Board, blob: Blob | None, force: bool) -> None:
    """Raises: LinkError: the firmware that was written does not answer, or has another model."""
    try:
        with connect(port, blob) as client:
            check_board(client, board, force)
            if blob is not None:
                check_written(client, blob)
    except LinkError as error:
        raise LinkError(f"all was written, but the check over the link fails: {error}") from error


def _is_drive(port: str) -> bool:
    return Path(port).is_dir()


def _describe(blob: Blob) -> dict[str, Any]:
    update = update_of(blob)
    return {
        "name": update.name,
        "bytes": update.blob_bytes,
        "counter": update.counter,
        "sha256": update.sha256.hex(),
    }


def _line(report: dict[str, Any]) -> str:
    """What was done, for people."""
    model = report["model"]
    parts = ["firmware"] * report["firmware"] + ([f"model {model['name']}"] if model else [])
    if report["written_bytes"] == 0:
        return f"{report['board']}: {parts[0]} is there already ({report['where']})"
    where = "over the link" if report["via"] == _LINK else f"by {report['via']}"
    checked = "checked over the link" if report["checked"] == _LINK else "checked by the tool"
    if report["checked"] == "uf2":
        checked = "not checked: give the board's --port"
    return (
        f"{report['board']}: {' and '.join(parts)} written {where} ({report['where']}), "
        f"{count(report['written_bytes'])} B, {checked}"
    )
