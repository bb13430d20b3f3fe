# SPDX-License-Identifier: Apache-2.0
"""The wheels of all platforms, built here with Zig's compiler: what is in their libraries, and what
runs of them. (That of this machine is in ``tests/flash/test_wheel.py``, in every run.)

Slow ones want Debian's packages wine64 and musl, which ``make emulators`` does not install."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import lief
import pytest

from conftest import ROOT, RUNTIME
from models import need
from narrows.blob import read_blob
from narrows.models import load_held_out, prepare_digits
from narrows.native import Run
from wheels import PLATFORMS, zig

HERE = Path(__file__).parent
NATIVE = ROOT / "pyfront" / "narrows" / "native"
# What Python calls, and a kernel of each implementation that asks the processor.
CALLED = {"nrw_open", "nrw_step", "host_infer", "host_observe", "nrw_detect"}
# Whose libraries may be needed: the system's own.
SYSTEM = ("libc.so.6", "libm.so.6", "libpthread.so.0", "libc.so", "/usr/lib/libSystem.B.dylib")
# Windows 10 and later have these, as the universal C runtime.
WINDOWS = ("kernel32.dll", "api-ms-win-crt-")


def run(*command: object, **options: object) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=1800, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def environment(**variables: str) -> dict[str, str]:
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return {**os.environ, "PATH": places, **variables}


class Libraries(dict[str, Path]):
    """Platform -> its wheel's library, built when it is asked for, in a folder with the wheel's
    name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __missing__(self, name: str) -> Path:
        out = self._folder / name
        command = (ROOT / "packaging" / "wheels.py", name, "--no-build-isolation", "--out", out)
        run(sys.executable, *command, env=environment())
        (wheel,) = out.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            self[name] = Path(archive.extract("narrows/native/_runtime.so", out / wheel.stem))
            assert "narrows/_share/runtime/include/narrows.h" in archive.namelist()
        return self[name]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Libraries:
    return Libraries(tmp_path_factory.mktemp("wheels"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PLATFORMS if name.startswith("linux")])
def test_linux(name: str, built: Libraries) -> None:
    binary = lief.ELF.parse(built[name])
    assert binary is not None
    machines = {"x86_64": lief.ELF.ARCH.X86_64, "aarch64": lief.ELF.ARCH.AARCH64}
    assert binary.header.machine_type == machines[PLATFORMS[name].processor]
    assert {*binary.libraries} <= {*SYSTEM}
    assert ("libc.so" in binary.libraries) == name.endswith("musl")
    assert {symbol.name for symbol in binary.exported_symbols} > CALLED
    versions = {
        tuple(map(int, auxiliary.name.removeprefix("GLIBC_").split(".")))
        for requirement in binary.symbols_version_requirement
        for auxiliary in requirement.get_auxiliary_symbols()
    }
    assert bool(versions) == name.endswith("glibc")
    assert max(versions, default=(2, 17)) <= (2, 17)
    # Nothing is written and run, and the loader binds all before the first call.
    (stack,) = (s for s in binary.segments if s.type == lief.ELF.Segment.TYPE.GNU_STACK)
    assert not stack.has(lief.ELF.Segment.FLAGS.X)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PLATFORMS if name.startswith("macos")])
def test_macos(name: str, built: Libraries) -> None:
    fat = lief.MachO.parse(built[name])
    assert fat is not None
    (binary,) = fat
    types = lief.MachO.Header.CPU_TYPE
    machine = types.ARM64 if name.endswith("arm64") else types.X86_64
    assert binary.header.cpu_type == machine
    _, *libraries = (library.name for library in binary.libraries)  # the first is its own name
    assert {*libraries} <= {*SYSTEM}
    assert binary.build_version is not None
    assert binary.build_version.minos[0] == 11
    assert {f"_{called}" for called in CALLED} < {s.name for s in binary.exported_symbols}
    # A processor of Apple's own loads nothing that is not signed, be it by nobody in particular.
    assert binary.has_code_signature or name.endswith("x86_64")


@pytest.mark.slow
def test_windows(built: Libraries) -> None:
    binary = lief.PE.parse(built["windows-x86_64"])
    assert binary is not None
    assert binary.header.machine == lief.PE.Header.MACHINE_TYPES.AMD64
    assert all(entry.name.lower().startswith(WINDOWS) for entry in binary.imports)
    exported = binary.get_export()
    assert exported is not None
    assert {entry.name for entry in exported.entries} > CALLED


def _wine() -> str:
    """Debian has it in no folder of PATH."""
    return shutil.which("wine64") or "/usr/lib/wine/wine64"


# What runs a program of a platform on x86-64 Linux, and the file without which it cannot.
RUNNERS = {
    "linux-aarch64-glibc": ("qemu-aarch64", "-cpu", "max", "-L", "/usr/aarch64-linux-gnu"),
    "linux-aarch64-glibc-without-dot": (
        *("qemu-aarch64", "-cpu", "cortex-a53", "-L", "/usr/aarch64-linux-gnu"),
    ),
    "linux-x86_64-musl": ("/lib/ld-musl-x86_64.so.1",),
    "windows-x86_64": (_wine(),),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", RUNNERS)
def test_a_library_runs(case: str, built: Libraries, digits_blob: Path, tmp_path: Path) -> None:
    """A C program that loads it as Python does gets the bytes of this machine."""
    need(RUNNERS[case][0])
    name = case.removesuffix("-without-dot")
    program = tmp_path / "load.exe"
    includes = [f"-I{path}" for path in (NATIVE, RUNTIME / "include")]
    options = ["-dynamic", "-O1", *includes]
    run(zig(), "cc", "-target", PLATFORMS[name].zig, *options, HERE / "load.c", "-o", program)
    picture = prepare_digits(load_held_out().images[:1])
    (tmp_path / "input").write_bytes(picture.tobytes())
    shutil.copy(digits_blob, tmp_path / "digits.nrw")
    variables = environment(WINEPREFIX=str(tmp_path / "wine"), WINEDEBUG="-all")
    command = (*RUNNERS[case], program, built[name], "digits.nrw", "input")
    said = run(*command, cwd=tmp_path, env=variables).split()
    (expected,) = Run(read_blob(digits_blob).model).infer([picture[0]])
    assert [int(word) for word in said[:-1]] == expected.ravel().tolist()
    assert 100 < int(said[-1]) < 20000  # bytes of stack, as painted


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc", "clang", "zig"])
def test_the_source_distribution_builds(compiler: str, tmp_path: Path) -> None:
    """With whichever compiler CC names; what is installed of it runs."""
    code = f"from scikit_build_core.build import build_sdist; build_sdist({str(tmp_path)!r})"
    run(sys.executable, "-c", code, cwd=ROOT)
    (archive,) = tmp_path.glob("*.tar.gz")
    if compiler == "zig":
        chosen = f"{sys.executable} -m ziglang cc"
    else:
        need(compiler)
        chosen = compiler
    command = (sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation")
    site = tmp_path / "site"
    run(*command, "--target", site, archive, env=environment(CC=chosen))
    # What finds the checkout's package would find that instead.
    code = """if True:
        import sys
        sys.meta_path[:] = [f for f in sys.meta_path if "Redirecting" not in type(f).__name__]
        import narrows.native as n
        print(n.__file__, n.load()[1].nrw_layouts())
    """
    said = run(sys.executable, "-c", code, env=environment(PYTHONPATH=str(site)), cwd=tmp_path)
    assert said == f"{site / 'narrows' / 'native' / '__init__.py'} 7\n"


def test_every_platform_has_its_tag() -> None:
    tags = [tag for entry in PLATFORMS.values() for tag in entry.tag.split(".")]
    assert len(tags) == len({*tags}) == 9
    assert f"linux-{platform.machine()}-glibc" in PLATFORMS or sys.platform != "linux"


@pytest.mark.slow
@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_the_package_asks_no_other_system_for_linux(system: str, tmp_path: Path) -> None:
    """mypy knows which functions Python has where."""
    command = (sys.executable, "-m", "mypy", "--platform", system, "--cache-dir", tmp_path)
    run(*command, cwd=ROOT)
