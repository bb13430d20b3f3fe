# SPDX-License-Identifier: Apache-2.0
"""``narrows doctor``: what is installed, what is missing, and the command that installs it."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from serial.tools import list_ports

from narrows import __version__, native
from narrows.cli.console import print_table
from narrows.cli.places import add_json
from narrows.errors import NarrowsError, ToolError
from narrows.link.rp2040js import find_rp2040js

_WORTHWHILE = 2
"""As many things are worth a line that installs them all."""


@dataclass(frozen=True)
class Finding:
    """needed_for: what does not work without it; remedy: how to get it, '' if it is there.

    apt, pip: what these would install of it; "" where neither would, or something else serves
    instead.
    """

    what: str
    found: str
    needed_for: str
    remedy: str = ""
    vital: bool = False
    apt: str = ""
    pip: str = ""


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "doctor", help="what is installed, and how to get what is missing"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what was found. Returns 1 if something is missing that nothing works without."""
    findings = examine()
    print_table(
        ("", "found", "needed for"),
        ((finding.what, finding.found or "missing", finding.needed_for) for finding in findings),
    )
    for finding in findings:
        if finding.remedy:
            print(f"\nfor {finding.what}: {finding.remedy}")
    if (cure := command_for_most(findings)) is not None:
        print(f"\nMost of it at once:\n\n    {cure}")
    arguments.outputs.write_json(
        {
            finding.what: {"found": finding.found or None, "remedy": finding.remedy or None}
            for finding in findings
        },
    )
    return 1 if any(finding.vital and finding.remedy for finding in findings) else 0


def examine() -> list[Finding]:
    """Look at everything that narrows uses."""
    gcc = _tool("arm-none-eabi-gcc", "building firmware", "gcc-arm-none-eabi")
    zig = _package("ziglang", "building firmware without GCC", "narrows[firmware]")
    if not gcc.remedy or _has_apt():
        zig = replace(zig, pip="")  # GCC serves
    return [
        Finding("narrows", f"{__version__}, Python {platform.python_version()}", "everything"),
        _runtime(),
        _tool("gcc", "installing from source, cycles in QEMU", "gcc"),
        gcc,
        zig,
        _tool("qemu-system-arm", "boards in QEMU", "qemu-system-arm"),
        _rp2040js(),
        _package("tflite-micro", "comparing with TFLite Micro", "tflite-micro>=0.dev20240101"),
        _package("ai-edge-litert", "comparing with LiteRT", "ai-edge-litert"),
        # It would put a pyserial of its own in the place of the other one.
        replace(_package("labgrid", "boards of a farm", "narrows[labgrid]"), pip=""),
        _package("cryptography", "signing blobs", "narrows[sign]"),
        _package("pyocd", "flashing by debug probes", "narrows[pyocd]"),
        _tool("openocd", "flashing by debug probes", "openocd"),
        _package("stm32loader", "flashing STM32 over a port", "narrows[stm32]"),
        _package("esptool", "flashing Espressif's chips", "narrows[esptool]"),
        _ports(),
    ]


def command_for_most(findings: Sequence[Finding]) -> str | None:
    """The one line that installs most of what is missing, by pip and, where there is one, apt-get;
    None if they would install less than two things."""
    pip = [finding.pip for finding in findings if finding.remedy and finding.pip]
    apt = [finding.apt for finding in findings if finding.remedy and finding.apt and _has_apt()]
    if len(pip) + len(apt) < _WORTHWHILE:
        return None
    extras = [name.removeprefix("narrows[").rstrip("]") for name in pip if name.startswith("n")]
    others = [name for name in pip if not name.startswith("n")]
    wanted = [f"narrows[{','.join(extras)}]"] * bool(extras) + others
    parts = []
    if wanted:
        parts.append(f"pip install {' '.join(map(shlex.quote, wanted))}")
    if apt:
        sudo = "sudo " if hasattr(os, "geteuid") and os.geteuid() != 0 else ""
        parts.append(f"{sudo}apt-get install {' '.join(apt)}")
    return " && ".join(parts)


def _has_apt() -> bool:
    return shutil.which("apt-get") is not None


def _runtime() -> Finding:
    try:
        layouts = native.layouts()
    except NarrowsError as error:
        return Finding("C runtime", "", "everything", str(error), vital=True)
    names = ", ".join(layout.name.lower() for layout in layouts)
    return Finding("C runtime", f"weight layouts {names}", "everything")


def _tool(name: str, needed_for: str, package: str) -> Finding:
    path, remedy = shutil.which(name), f"apt-get install {package}"
    if path is None:
        return Finding(name, "", needed_for, remedy, apt=package)
    try:
        text = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=60, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(name, "", needed_for, f"{path} does not work ({error}); {remedy}")
    return Finding(name, next(iter(text.splitlines()), path), needed_for)


def _rp2040js() -> Finding:
    needed_for = "a Raspberry Pi Pico without the board"
    try:
        _, folder = find_rp2040js()
    except ToolError as error:
        return Finding("rp2040js", "", needed_for, str(error))
    return Finding("rp2040js", str(folder), needed_for)


def _package(name: str, needed_for: str, requirement: str) -> Finding:
    try:
        return Finding(name, importlib.metadata.version(name), needed_for)
    except importlib.metadata.PackageNotFoundError:
        remedy = f"pip install {shlex.quote(requirement)}"
        return Finding(name, "", needed_for, remedy, pip=requirement)


def _ports() -> Finding:
    ports = ", ".join(port.device for port in list_ports.comports())
    remedy = "" if ports else "plug the board in; on Linux, be a member of the group dialout"
    return Finding("serial ports", ports, "boards on the desk", remedy)
