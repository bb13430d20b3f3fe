# SPDX-License-Identifier: Apache-2.0
"""``narrows doctor``: what is installed, what is missing, and the command that installs it."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

from serial.tools import list_ports

from narrows import __version__, native
from narrows.cli.console import print_table
from narrows.cli.places import add_json
from narrows.errors import NarrowsError, ToolError
from narrows.link.rp2040js import find_rp2040js


@dataclass(frozen=True)
class Finding:
    """needed_for: what does not work without it; remedy: how to get it, '' if it is there."""

    what: str
    found: str
    needed_for: str
    remedy: str = ""
    vital: bool = False


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
    arguments.outputs.write_json(
        {
            finding.what: {"found": finding.found or None, "remedy": finding.remedy or None}
            for finding in findings
        },
    )
    return 1 if any(finding.vital and finding.remedy for finding in findings) else 0


def examine() -> list[Finding]:
    """Look at everything that narrows uses."""
    return [
        Finding("narrows", f"{__version__}, Python {platform.python_version()}", "everything"),
        _runtime(),
        _tool("gcc", "installing from source, cycles in QEMU", "apt-get install gcc"),
        _tool("arm-none-eabi-gcc", "building firmware", "apt-get install gcc-arm-none-eabi"),
        _package("ziglang", "building firmware without GCC", "pip install 'narrows[firmware]'"),
        _tool("qemu-system-arm", "boards in QEMU", "apt-get install qemu-system-arm"),
        _rp2040js(),
        _package("tflite-micro", "comparing with TFLite Micro", "pip install --pre tflite-micro"),
        _package("ai-edge-litert", "comparing with LiteRT", "pip install ai-edge-litert"),
        _package("labgrid", "boards of a farm", "pip install 'narrows[labgrid]'"),
        _package("cryptography", "signing blobs", "pip install 'narrows[sign]'"),
        _package("pyocd", "flashing by debug probes", "pip install 'narrows[pyocd]'"),
        _tool("openocd", "flashing by debug probes", "apt-get install openocd"),
        _package("stm32loader", "flashing STM32 over a port", "pip install 'narrows[stm32]'"),
        _package("esptool", "flashing Espressif's chips", "pip install 'narrows[esptool]'"),
        _ports(),
    ]


def _runtime() -> Finding:
    try:
        layouts = native.layouts()
    except NarrowsError as error:
        return Finding("C runtime", "", "everything", str(error), vital=True)
    names = ", ".join(layout.name.lower() for layout in layouts)
    return Finding("C runtime", f"weight layouts {names}", "everything")


def _tool(name: str, needed_for: str, remedy: str) -> Finding:
    path = shutil.which(name)
    if path is None:
        return Finding(name, "", needed_for, remedy)
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


def _package(name: str, needed_for: str, remedy: str) -> Finding:
    try:
        return Finding(name, importlib.metadata.version(name), needed_for)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "", needed_for, remedy)


def _ports() -> Finding:
    ports = ", ".join(port.device for port in list_ports.comports())
    remedy = "" if ports else "plug the board in; on Linux, be a member of the group dialout"
    return Finding("serial ports", ports, "boards on the desk", remedy)
