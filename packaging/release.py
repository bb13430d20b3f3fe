# SPDX-License-Identifier: Apache-2.0
"""A release: ``set VERSION`` writes the version where it stands, ``build`` makes and checks all
that is published, into ``build/release``. Nothing is uploaded; RELEASING.md says what comes before,
between and after."""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from dist import KINDS, Packer, read_version
from wheels import PLATFORMS, ROOT

OUT = ROOT / "build" / "release"
IMAGES = ROOT / "build" / "firmware-images"
# Where the version stands -> what it stands in.
PLACES = {
    ROOT / "runtime" / "include" / "narrows.h": '#define NARROWS_VERSION "{}"',
    ROOT / "pyfront" / "narrows" / "__init__.py": '__version__ = "{}"',
}
CHANGES = ROOT / "CHANGELOG.md"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    setting = commands.add_parser("set", help="write the version where it stands")
    setting.add_argument("version")
    building = commands.add_parser("build", help="make and check what is published")
    building.add_argument("--url", required=True, help="of the project, for the packages")
    arguments = parser.parse_args()
    if arguments.command == "set":
        set_version(ROOT, arguments.version, time.strftime("%Y-%m-%d"))
    else:
        build(arguments.url)


def set_version(root: Path, version: str, date: str) -> None:
    """Write it into the sources, and as the heading of what was unreleased. date: YYYY-MM-DD.

    Raises: SystemExit: it is no version, or a place is not as expected; nothing is written then.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise SystemExit(f"{version}: give three numbers, as 1.2.3")
    texts = {}
    for place, form in PLACES.items():
        path = root / place.relative_to(ROOT)
        pattern = re.escape(form).replace(r"\{\}", r"[^\"]+")
        texts[path], count = re.subn(pattern, form.format(version), path.read_text("utf-8"))
        if count != 1:
            raise SystemExit(f"{path}: has the version {count} times, not once")
    path = root / CHANGES.relative_to(ROOT)
    texts[path] = path.read_text("utf-8")
    if texts[path].count("\n## Unreleased\n") != 1:
        raise SystemExit(f"{path}: has no heading '## Unreleased'; nothing to release")
    texts[path] = texts[path].replace("\n## Unreleased\n", f"\n## {version} ({date})\n")
    for path, text in texts.items():
        path.write_text(text, "utf-8")


def build(url: str) -> None:
    """All that is published, and SHA256SUMS of it.

    Raises: SystemExit: there are changes that are not committed, or a tool finds something.
    """
    git = ["git", "status", "--porcelain"]
    if subprocess.run(git, cwd=ROOT, capture_output=True, check=True).stdout:
        raise SystemExit("there are changes that are not committed: git status")
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    code = f"from scikit_build_core.build import build_sdist; build_sdist({str(OUT)!r})"
    _run(sys.executable, "-c", code)
    _run(sys.executable, "-m", "narrows.link.shipped", IMAGES)
    _run(sys.executable, "packaging/wheels.py", "--images", IMAGES, "--out", OUT)
    packed = OUT / "packed"
    packer = Packer(packed, url, _date_of_head())
    for pack in KINDS.values():
        archive = pack(packer)
        archive.replace(OUT / archive.name)
    shutil.rmtree(packed)
    check()
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(OUT.iterdir())
    ]
    (OUT / "SHA256SUMS").write_text("".join(lines), "utf-8")
    print(f"{len(lines)} files of {read_version()} in {OUT}")


def check() -> None:
    """What the tools say that judge packages. Raises: SystemExit: one finds something."""
    wheels = sorted(OUT.glob("*.whl"))
    if len(wheels) != len(PLATFORMS):
        raise SystemExit(f"{len(wheels)} wheels for {len(PLATFORMS)} platforms")
    scripts = Path(sys.executable).parent
    _run(
        scripts / "twine",
        "check",
        "--strict",
        *wheels,
        *OUT.glob(f"narrows-{read_version()}.tar.gz"),
    )
    _run(scripts / "check-wheel-contents", *wheels)
    for wheel in wheels:
        # auditwheel knows the libraries of the system that it runs on, so not musl's.
        if "manylinux" in wheel.name:
            _run(sys.executable, "-m", "auditwheel", "show", wheel)


def _date_of_head() -> str:
    command = ["git", "log", "-1", "--format=%cs"]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def _run(*command: object) -> None:
    words = [str(word) for word in command]
    if subprocess.run(words, cwd=ROOT).returncode != 0:
        raise SystemExit(f"failed: {' '.join(words)}")


if __name__ == "__main__":
    main()
