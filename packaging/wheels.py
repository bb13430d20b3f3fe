# SPDX-License-Identifier: Apache-2.0
"""``python packaging/wheels.py`` builds wheels for every platform on this one, with Zig's compiler.

A wheel is the package, firmware that was built before, and the library of kernels for one platform.
The library is plain C that Python loads through cffi, so one wheel serves every Python of it. On
x86-64 it holds the portable kernels and those for AVX2, on 64-bit Arm those for NEON with and
without dot products; it asks the processor when it runs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NATIVE = "native"
"""In the place of a platform: this one, with the compiler that CMake finds here."""


@dataclass(frozen=True)
class Platform:
    """zig: its name for the system, with the oldest version. system, processor: CMake's names.
    tag: the wheel's; dots join several."""

    zig: str
    system: str
    processor: str
    tag: str


def _linux(processor: str) -> dict[str, Platform]:
    manylinux = f"manylinux_2_17_{processor}.manylinux2014_{processor}"
    libraries = {
        "glibc": Platform(f"{processor}-linux-gnu.2.17", "Linux", processor, manylinux),
        "musl": Platform(
            f"{processor}-linux-musl", "Linux", processor, f"musllinux_1_2_{processor}"
        ),
    }
    return {f"linux-{processor}-{name}": platform for name, platform in libraries.items()}


PLATFORMS = {
    **_linux("x86_64"),
    **_linux("aarch64"),
    "macos-x86_64": Platform("x86_64-macos.11.0", "Darwin", "x86_64", "macosx_11_0_x86_64"),
    "macos-arm64": Platform("aarch64-macos.11.0", "Darwin", "arm64", "macosx_11_0_arm64"),
    "windows-x86_64": Platform("x86_64-windows-gnu", "Windows", "AMD64", "win_amd64"),
}


def main() -> None:
    """Build the wheels that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "platforms",
        nargs="*",
        metavar="PLATFORM",
        help=f"one of {', '.join(PLATFORMS)}; {NATIVE} for this one with its own compiler "
        "(default: all but that)",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "wheel", metavar="FOLDER")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="FOLDER",
        help="firmware of boards, as python -m narrows.link.shipped builds it",
    )
    parser.add_argument(
        "--no-build-isolation",
        action="store_true",
        help="build with what is installed here instead of installing it anew",
    )
    arguments = parser.parse_args()
    names = arguments.platforms or list(PLATFORMS)
    unknown = [name for name in names if name not in (*PLATFORMS, NATIVE)]
    if unknown:
        parser.error(f"no platform {', '.join(unknown)}: one of {', '.join((*PLATFORMS, NATIVE))}")
    options = ["--no-build-isolation"] if arguments.no_build_isolation else []
    if arguments.images is not None:
        images = arguments.images.resolve()
        options.append(f"--config-settings=cmake.define.NARROWS_IMAGES={images}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in names:
        print(build(PLATFORMS.get(name), arguments.out, options), flush=True)


def build(platform: Platform | None, out: Path, options: list[str]) -> Path:
    """Build one wheel. platform: None for this one. options: of pip. Returns: the wheel.

    Raises: SystemExit: it fails; the tools have said why.
    """
    environment = dict(os.environ)
    defines = {}
    if platform is not None:
        environment["CC"] = f"{zig()} cc -target {platform.zig}"
        defines = {
            "CMAKE_SYSTEM_NAME": platform.system,
            "CMAKE_SYSTEM_PROCESSOR": platform.processor,
        }
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *options]
        command += [f"--config-settings=cmake.define.{key}={defines[key]}" for key in defines]
        _run([*command, "--wheel-dir", folder, str(ROOT)], environment)
        (wheel,) = Path(folder).glob("*.whl")
        if platform is not None:
            # The build back end names the machine that it runs on.
            retag = ["tags", "--remove", "--platform-tag", platform.tag]
            _run([sys.executable, "-m", "wheel", *retag, str(wheel)], environment)
            (wheel,) = Path(folder).glob("*.whl")
        return wheel.replace(out / wheel.name)


def zig() -> Path:
    """Zig, as its package on PyPI installs it. Raises: SystemExit: it is not there."""
    try:
        import ziglang
    except ImportError:
        raise SystemExit("Zig's compiler is missing: pip install ziglang") from None
    (place,) = ziglang.__path__
    return Path(place) / ("zig.exe" if os.name == "nt" else "zig")


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL)
    if done.returncode != 0:
        raise SystemExit(f"failed: {' '.join(command)}")


if __name__ == "__main__":
    main()
