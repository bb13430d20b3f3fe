# SPDX-License-Identifier: Apache-2.0
"""``python packaging/dist.py`` packs the runtime for every build system of C that has packages.

Each package is a folder in ``--out`` and an archive beside it: the files of ``templates/KIND``, in
which ``@NAME@`` stands for a value, and the runtime, as one C file or as it is.
"""

from __future__ import annotations

import argparse
import gzip
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from amalgamate import amalgamate
from narrows.models import DIGITS_INT8, load_held_out, prepare_digits

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = Path(__file__).resolve().parent / "templates"
EXAMPLES = ("camera_rows.c", "main_loop.c", "freertos_task.c", "cpp_user.cpp", "network.hpp")
# The date of an archive's members is fixed, so that the same sources make the same archive.
_TIME = (1980, 1, 1, 0, 0, 0)


def read_version() -> str:
    """The version, which stands in the public header."""
    text = (ROOT / "runtime" / "include" / "narrows.h").read_text(encoding="utf-8")
    match = re.search(r'#define NARROWS_VERSION "([^"]+)"', text)
    assert match is not None
    return match.group(1)


class Packer:
    """What all packages share. url: of the project. date: of the release, as YYYY-MM-DD."""

    def __init__(self, out: Path, url: str, date: str) -> None:
        self._out = out
        self.version = read_version()
        digits = load_held_out()
        # The model's elements are pixels less 128.
        elements = prepare_digits(digits.images[:1])[0].ravel().tolist()
        self._picture = [element + 128 for element in elements]
        self._values = {
            "@VERSION@": self.version,
            "@URL@": url,
            "@DATE@": date,
            "@DIGIT@": str(digits.labels[0]),
        }

    def begin(self, kind: str) -> Path:
        """An empty folder, but for the template's files and the licence."""
        folder = self._out / kind / "narrows"
        shutil.rmtree(folder.parent, ignore_errors=True)
        if (TEMPLATES / kind).is_dir():
            self.copy(TEMPLATES / kind, folder)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "LICENSE", folder)
        if not (folder / "README.md").exists():
            self.copy(TEMPLATES / "amalgamation" / "README.md", folder / "README.md")
        return folder

    def copy(self, source: Path, target: Path) -> None:
        """A template, or a folder of them, with the values."""
        if source.is_dir():
            for path in source.iterdir():
                self.copy(path, target / path.name)
            return
        text = source.read_text(encoding="utf-8")
        for name, value in self._values.items():
            text = text.replace(name, value)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def add_runtime(self, folder: Path) -> None:
        """The runtime in one file, what finds boxes in another, and their headers."""
        folder.mkdir(parents=True, exist_ok=True)
        runtime = ROOT / "runtime"
        (folder / "narrows.c").write_text(self._one_file, encoding="utf-8")
        detection = (runtime / "detection" / "detection.c").read_text(encoding="utf-8")
        (folder / "narrows_detection.c").write_text(detection, encoding="utf-8")
        for header in (runtime / "include").glob("*.h"):
            shutil.copy(header, folder)

    def add_digits(self, folder: Path, main: str | None = None) -> None:
        """The embedded network and a picture; main: the file name of a program that shows it."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in self._digits.items():
            (folder / name).write_text(text, encoding="utf-8")
        if main is not None:
            self.copy(TEMPLATES / "digits_main.c", folder / main)

    @cached_property
    def _one_file(self) -> str:
        return amalgamate(ROOT / "runtime", self.version)

    @cached_property
    def _digits(self) -> dict[str, str]:
        """The network and the picture: file -> text."""
        with tempfile.TemporaryDirectory() as scratch:
            blob = f"{scratch}/digits.nrw"
            # Every implementation has kernels for this order of weights.
            _run_narrows("compile", str(DIGITS_INT8), "--layout", "plain", "-o", blob)
            _run_narrows("embed", blob, "-o", f"{scratch}/digits_net.c", "--name", "digits_net")
            files = {path.name: path.read_text() for path in Path(scratch).glob("digits_net.[ch]")}
        rows = "".join(
            "    " + ", ".join(map(str, self._picture[at : at + 16])) + ",\n"
            for at in range(0, len(self._picture), 16)
        )
        files["digit_picture.h"] = (
            "/* SPDX-License-Identifier: Apache-2.0 */\n"
            f"/* A handwritten {self._values['@DIGIT@']}: 32 rows of 32 grey pixels. */\n"
            "#ifndef DIGIT_PICTURE_H\n#define DIGIT_PICTURE_H\n\n#include <stdint.h>\n\n"
            f"static const uint8_t digit_picture[{len(self._picture)}] = {{\n{rows}}};\n\n#endif\n"
        )
        return files

    def zip(self, folder: Path, name: str, root: str = "narrows") -> Path:
        """The archive of a folder. root: what the folder is called in it; "": nothing."""
        archive = self._out / name
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writer:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                member = zipfile.ZipInfo(str(Path(root) / path.relative_to(folder)), _TIME)
                member.compress_type = zipfile.ZIP_DEFLATED
                member.external_attr = 0o644 << 16
                writer.writestr(member, path.read_bytes())
        return archive

    def tar(self, folder: Path, name: str, root: str) -> Path:
        """The same as a .tar.gz, which has neither users nor times."""
        archive = self._out / name
        with (
            archive.open("wb") as stream,
            gzip.GzipFile("", "wb", fileobj=stream, mtime=0) as packed,
            tarfile.open(mode="w", fileobj=packed) as writer,
        ):
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                member = writer.gettarinfo(path, str(Path(root) / path.relative_to(folder)))
                member.uid = member.gid = member.mtime = 0
                member.uname = member.gname = ""
                with path.open("rb") as contents:
                    writer.addfile(member, contents)
        return archive


def amalgamation(packer: Packer) -> Path:
    """The files alone, for projects that add files."""
    folder = packer.begin("amalgamation")
    packer.add_runtime(folder)
    packer.add_digits(folder / "example", "main.c")
    return packer.zip(folder, f"narrows-{packer.version}-amalgamation.zip")


def cmake(packer: Packer) -> Path:
    """The runtime as it is, for add_subdirectory, FetchContent and installation."""
    folder = packer.begin("cmake")
    shutil.copytree(
        ROOT / "runtime", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("build")
    )
    return packer.tar(folder, f"narrows-{packer.version}-cmake.tar.gz", f"narrows-{packer.version}")


def arduino(packer: Packer) -> Path:
    """A library for Arduino's IDE, which takes the archive as it is."""
    folder = packer.begin("arduino")
    packer.add_runtime(folder / "src")
    packer.add_digits(folder / "examples" / "Digits")
    return packer.zip(folder, f"narrows-{packer.version}-arduino.zip")


def platformio(packer: Packer) -> Path:
    """A library for PlatformIO, as `pio pkg pack` packs it."""
    folder = packer.begin("platformio")
    packer.add_runtime(folder / "src")
    packer.add_digits(folder / "examples" / "digits" / "src", "main.c")
    return packer.tar(folder, f"narrows-{packer.version}-platformio.tar.gz", ".")


def zephyr(packer: Packer) -> Path:
    """A module for Zephyr's build: ZEPHYR_EXTRA_MODULES, or a project of a west manifest."""
    folder = packer.begin("zephyr")
    packer.add_runtime(folder / "src")
    packer.add_digits(folder / "samples" / "digits" / "src", "main.c")
    return packer.zip(folder, f"narrows-{packer.version}-zephyr.zip")


def esp_idf(packer: Packer) -> Path:
    """The component with the whole application, and its example."""
    folder = packer.begin("esp_idf")
    firmware = ROOT / "firmware"
    packer.copy(firmware / "esp_idf" / "narrows", folder)
    shutil.copy(firmware / "esp_idf" / "README.md", folder)
    for part in ("src", "ops", "kernels", "include"):
        shutil.copytree(ROOT / "runtime" / part, folder / "runtime" / part)
    for part in ("app", "link", "port"):
        shutil.copytree(firmware / part, folder / "firmware" / part)
    packer.copy(firmware / "esp_idf" / "example", folder / "examples" / "server")
    project = folder / "examples" / "server" / "CMakeLists.txt"
    text = project.read_text(encoding="utf-8")
    project.write_text(text.replace("/../narrows)", "/../..)"), encoding="utf-8")
    manifest = folder / "idf_component.yml"
    head, _, rest = manifest.read_text(encoding="utf-8").partition("\n")
    manifest.write_text(f'{head}\nversion: "{packer.version}"\n{rest}', encoding="utf-8")
    return packer.zip(folder, f"narrows-{packer.version}-esp-idf.zip")


def cmsis_pack(packer: Packer) -> Path:
    """A pack for Keil, IAR and the CMSIS-Toolbox."""
    folder = packer.begin("cmsis_pack")
    packer.add_runtime(folder / "src")
    for name in EXAMPLES[:3]:
        packer.copy(ROOT / "examples" / name, folder / "examples" / name)
    return packer.zip(folder, f"narrows.narrows.{packer.version}.pack", root="")


KINDS: dict[str, Callable[[Packer], Path]] = {
    pack.__name__: pack
    for pack in (amalgamation, cmake, arduino, platformio, zephyr, esp_idf, cmsis_pack)
}


def main() -> None:
    """Make the packages that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)} (all)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "dist", metavar="FOLDER")
    parser.add_argument("--url", default="https://example.org/narrows/", help="of the project")
    parser.add_argument("--date", default=time.strftime("%Y-%m-%d"), help="of the release")
    arguments = parser.parse_args()
    unknown = [kind for kind in arguments.kinds if kind not in KINDS]
    if unknown:
        parser.error(f"no package {', '.join(unknown)}: {', '.join(KINDS)}")
    packer = Packer(arguments.out.resolve(), arguments.url, arguments.date)
    for kind in arguments.kinds or KINDS:
        print(KINDS[kind](packer))


def _run_narrows(*arguments: str) -> None:
    """A command of narrows, whose words are not wanted."""
    command = [sys.executable, "-m", "narrows", *arguments]
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode != 0:
        raise SystemExit(f"failed: {' '.join(command)}")


if __name__ == "__main__":
    main()
