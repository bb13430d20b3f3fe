# SPDX-License-Identifier: Apache-2.0
"""What ``make dist`` makes for each build system of C, as far as that system's own tools, or its
rules, go without it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

import narrows
from amalgamate import IMPLEMENTATIONS, own_names, renamed
from conftest import ROOT, RUNTIME
from dist import KINDS, Packer, read_version
from models import cmake_program, missing, need
from release import CHANGES, PLACES, set_version

HERE = Path(__file__).parent
VERSION = narrows.__version__
WARNINGS = "-std=c99 -Wall -Wextra -Wconversion -Wmissing-prototypes -pedantic -Werror"
CORES = {
    "cortex-m0": "-mcpu=cortex-m0 -mthumb",
    "cortex-m3": "-mcpu=cortex-m3 -mthumb",
    "cortex-m4": "-mcpu=cortex-m4 -mthumb",
    "cortex-m55": "-mcpu=cortex-m55 -mthumb -mfloat-abi=hard -mfpu=auto",
}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Kind of package -> its archive; the folder is ``KIND/narrows`` beside it."""
    packer = Packer(tmp_path_factory.mktemp("dist"), "https://example.org/narrows/", "2024-02-29")
    return {kind: pack(packer) for kind, pack in KINDS.items()}


def folder_of(packed: dict[str, Path], kind: str) -> Path:
    return packed[kind].parent / kind / "narrows"


def run(*command: object, **options: object) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


@pytest.fixture(scope="module")
def cmake() -> str:
    return cmake_program()


def test_one_version() -> None:
    """The header's, which the packages for C have, is the Python package's."""
    assert read_version() == VERSION


def test_a_version_is_set_everywhere_or_nowhere(tmp_path: Path) -> None:
    for place in (*PLACES, CHANGES):
        copy = tmp_path / place.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(place, copy)
    changes = tmp_path / CHANGES.name
    changes.write_text("# Changes\n\n## Unreleased\n\n* New.\n")
    with pytest.raises(SystemExit, match="give three numbers"):
        set_version(tmp_path, "1.2", "2024-02-29")
    set_version(tmp_path, "1.2.3", "2024-02-29")
    assert changes.read_text() == "# Changes\n\n## 1.2.3 (2024-02-29)\n\n* New.\n"
    for place, form in PLACES.items():
        assert form.format("1.2.3") in (tmp_path / place.relative_to(ROOT)).read_text()
    with pytest.raises(SystemExit, match="nothing to release"):
        set_version(tmp_path, "1.2.4", "2024-02-29")
    header = tmp_path / "runtime" / "include" / "narrows.h"
    assert '"1.2.3"' in header.read_text()


# --- One file -----------------------------------------------------------------------------------


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_one_file_passes_the_tests_of_the_interface(
    compiler: str, packed: dict[str, Path], tmp_path: Path
) -> None:
    """With the kernels that it takes by itself here; and its example finds the digit."""
    need(compiler)
    folder, tests = folder_of(packed, "amalgamation"), ROOT / "tests" / "c"
    command = [compiler, *WARNINGS.split(), f"-I{folder}"]
    run(*command, "-c", folder / "narrows.c", "-o", tmp_path / "narrows.o")
    sources = [tests / name for name in ("api_main.c", "test.c", "host.c")]
    run(*command, f"-I{tests}", *sources, tmp_path / "narrows.o", "-o", tmp_path / "api_tests")
    run(tmp_path / "api_tests")
    example = [folder / "example" / name for name in ("main.c", "digits_net.c")]
    run(*command, *example, tmp_path / "narrows.o", "-o", tmp_path / "digits")
    assert run(tmp_path / "digits") == "digit 0\n"


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_kernels_and_layouts_by_macros(
    compiler: str, packed: dict[str, Path], tmp_path: Path
) -> None:
    """Which tables are in it, and what is refused while it is compiled."""
    need(compiler, "nm")
    source = folder_of(packed, "amalgamation") / "narrows.c"

    def tables(*macros: str) -> set[str]:
        object_file = tmp_path / "narrows.o"
        defines = [f"-DNARROWS_{macro}" for macro in macros]
        run(compiler, "-std=c99", *defines, "-Werror", "-c", source, "-o", object_file)
        return set(re.findall(r" [DR] (nrw_kernels_\w+)\n", run("nm", object_file)))

    plain, blocked, paired = "nrw_kernels_plain", "nrw_kernels_blocked", "nrw_kernels_paired"
    assert tables("KERNELS_C") == {f"{name}_c" for name in (plain, blocked, paired)}
    assert tables("KERNELS_FAST") == {f"{plain}_fast", f"{blocked}_fast"}
    for macros, error in (
        (("KERNELS_C", "KERNELS_FAST"), "define one NARROWS_KERNELS_... at most"),
        (("KERNELS_FAST", "LAYOUT_PAIRED"), "these kernels have no layout paired"),
    ):
        defines = [f"-DNARROWS_{macro}" for macro in macros]
        command = [compiler, "-std=c99", *defines, "-fsyntax-only", source]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode != 0
        assert error in done.stderr


def test_a_layout_that_is_left_out_is_refused(packed: dict[str, Path], tmp_path: Path) -> None:
    need("cc")
    folder = folder_of(packed, "amalgamation")
    example = [folder / "example" / name for name in ("main.c", "digits_net.c")]
    command = ["cc", "-std=c99", "-DNARROWS_KERNELS_C", "-DNARROWS_LAYOUT_BLOCKED", f"-I{folder}"]
    run(*command, *example, folder / "narrows.c", "-o", tmp_path / "digits")
    done = subprocess.run([tmp_path / "digits"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "failed: -6\n")


@pytest.mark.parametrize(
    ("core", "kernels"),
    [
        ("cortex-m0", "c"),
        pytest.param("cortex-m3", "fast", marks=pytest.mark.slow),
        ("cortex-m4", "dsp"),
        ("cortex-m55", "mve"),
    ],
)
def test_one_file_for_a_microcontroller(
    core: str, kernels: str, packed: dict[str, Path], tmp_path: Path
) -> None:
    """Without a warning, with the kernels that are the fastest there."""
    need("arm-none-eabi-gcc")
    source = folder_of(packed, "amalgamation") / "narrows.c"
    command = ["arm-none-eabi-gcc", *CORES[core].split(), *WARNINGS.split(), "-Wno-pedantic"]
    run(*command, "-c", source, "-o", tmp_path / "a.o")
    symbols = run("arm-none-eabi-nm", tmp_path / "a.o")
    assert f"nrw_kernels_plain_{kernels}\n" in symbols
    others = set(IMPLEMENTATIONS) - {kernels, "c"}
    assert not [name for name in others if f"nrw_kernels_plain_{name}\n" in symbols]


def test_names_are_found_and_changed() -> None:
    text = """
        #define TWICE(x) (2 * (x))
        enum { FEW = 2, MANY };
        struct place { int check; };
        typedef int number;
        static const int table[] = {1};
        INLINE int inside(int check) { enum { LOCAL }; return check; }
        static int check(struct place *place)
        {
            return place->check + place.check + inside(FEW); /* check */
        }
    """
    names, tags = own_names(text)
    assert names == {"TWICE", "FEW", "MANY", "number", "table", "inside", "check"}
    assert tags == {"place"}
    changed = renamed(text, {"check", "FEW"}, {"place"}, "a")
    assert "static int a_check(struct a_place *place)" in changed
    assert "return place->check + place.check + inside(a_FEW); /* check */" in changed


# --- CMake and pkg-config -----------------------------------------------------------------------


def test_fetch_content(cmake: str, packed: dict[str, Path], tmp_path: Path) -> None:
    """A stranger's project takes the archive."""
    need("cc")
    (tmp_path / "main.c").write_text((ROOT / "tests" / "c" / "consumer" / "main.c").read_text())
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.18)\nproject(user LANGUAGES C)\ninclude(FetchContent)\n"
        f"FetchContent_Declare(narrows URL file://{packed['cmake']})\n"
        "FetchContent_MakeAvailable(narrows)\nadd_executable(user main.c)\n"
        "target_link_libraries(user PRIVATE narrows::narrows)\n"
    )
    run(cmake, "-S", tmp_path, "-B", tmp_path / "build")
    run(cmake, "--build", tmp_path / "build", "--parallel", "2", "--target", "user")
    run(tmp_path / "build" / "user")


def test_pkg_config_and_a_wrong_version(
    cmake: str, packed: dict[str, Path], tmp_path: Path
) -> None:
    """The installation was moved; find_package refuses a version that may differ."""
    need("cc", "pkg-config")
    shutil.unpack_archive(packed["cmake"], tmp_path)
    build, prefix = tmp_path / "build", tmp_path / "there"
    run(cmake, "-S", tmp_path / f"narrows-{VERSION}", "-B", build)
    run(cmake, "--build", build, "--parallel", "2")
    run(cmake, "--install", build, "--prefix", tmp_path / "first")
    (tmp_path / "first").rename(prefix)
    environment = {**os.environ, "PKG_CONFIG_PATH": str(prefix / "lib" / "pkgconfig")}
    consumer = ROOT / "tests" / "c" / "consumer"
    for package, source in (("narrows", "main.c"), ("narrows_detection", "detector.c")):
        assert run("pkg-config", "--modversion", package, env=environment) == f"{VERSION}\n"
        flags = run("pkg-config", "--cflags", "--libs", package, env=environment).split()
        run("cc", consumer / source, *flags, "-o", tmp_path / "user")
        run(tmp_path / "user")
    major, minor, _ = VERSION.split(".")
    for wanted, is_found in ((f"{major}.{minor}", True), (f"{major}.{int(minor) + 1}", False)):
        user = tmp_path / f"user{wanted}"
        user.mkdir()
        (user / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.18)\nproject(user LANGUAGES C)\n"
            f"find_package(narrows {wanted} REQUIRED CONFIG)\n"
        )
        command = [cmake, "-S", user, "-B", user / "build", f"-DCMAKE_PREFIX_PATH={prefix}"]
        done = subprocess.run(list(map(str, command)), capture_output=True)
        assert (done.returncode == 0) == is_found


# --- Others' package managers -------------------------------------------------------------------


def test_arduino(packed: dict[str, Path], tmp_path: Path) -> None:
    """Arduino's specification of libraries, and the sketch as C++."""
    need("g++")
    folder = folder_of(packed, "arduino")
    lines = (folder / "library.properties").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines)
    assert all(values[field].strip() for field in ("name", "author", "maintainer", "sentence"))
    assert all(values[field].strip() for field in ("paragraph", "url", "architectures"))
    assert values["version"] == VERSION
    assert values["category"] == "Data Processing"
    assert (folder / "src" / values["includes"]).is_file()
    # A sketch's folder has its name; the builder adds the first line and prototypes.
    sketch = folder / "examples" / "Digits" / "Digits.ino"
    source = tmp_path / "Digits.cpp"
    source.write_text(f'#include "Arduino.h"\n{sketch.read_text()}')
    includes = [f"-I{path}" for path in (HERE / "arduino", folder / "src", sketch.parent)]
    flags = ["-std=gnu++11", "-Wall", "-Wextra", "-Werror"]
    objects = []
    for unit in (folder / "src" / "narrows.c", sketch.parent / "digits_net.c"):
        objects.append(tmp_path / f"{unit.stem}.o")
        run("gcc", "-std=gnu11", *includes, "-c", unit, "-o", objects[-1])
    run("g++", *flags, *includes, source, *objects, "-o", tmp_path / "sketch")
    assert re.fullmatch(r"digit 0, microseconds 0\n", run(tmp_path / "sketch"))


def test_platformio(packed: dict[str, Path], tmp_path: Path) -> None:
    """Its own reader judges the manifest, and its own packer makes the archive that we make."""
    if importlib.util.find_spec("platformio") is None:
        missing("platformio")
    # Which licences there are PlatformIO looks up in the net; one of them is enough here.
    code = """if True:
        import sys
        from platformio.package.manifest.schema import ManifestSchema
        from platformio.package.pack import PackagePacker
        ManifestSchema.load_spdx_licenses = staticmethod(
            lambda: {"licenses": [{"licenseId": "Apache-2.0"}]})
        PackagePacker(sys.argv[1]).pack(sys.argv[2])
    """
    theirs = tmp_path / "theirs.tar.gz"
    environment = {**os.environ, "PLATFORMIO_CORE_DIR": str(tmp_path / "core")}
    folder = folder_of(packed, "platformio")
    run(sys.executable, "-c", code, folder, theirs, env=environment)
    with tarfile.open(theirs) as archive, tarfile.open(packed["platformio"]) as ours:
        names = {member.name for member in archive.getmembers() if member.isfile()}
        assert names == {member.name for member in ours.getmembers()}
    manifest = json.loads((folder / "library.json").read_text())
    assert manifest["version"] == VERSION
    for example in manifest["examples"]:
        assert all((folder / example["base"] / name).is_file() for name in example["files"])


def test_zephyr(cmake: str, packed: dict[str, Path], tmp_path: Path) -> None:
    """The module's file, its Kconfig by a reader of such files, and CMakeLists.txt over functions
    of Zephyr by our own hand."""
    if importlib.util.find_spec("kconfiglib") is None:
        missing("esp-idf-kconfig")
    folder = folder_of(packed, "zephyr")
    module = yaml.safe_load((folder / "zephyr" / "module.yml").read_text())
    assert (folder / module["build"]["kconfig"]).is_file()
    assert (folder / module["build"]["cmake"] / "CMakeLists.txt").is_file()
    (tmp_path / "Kconfig").write_text(
        f'mainmenu "test"\nsource "{folder / module["build"]["kconfig"]}"\n'
    )
    (tmp_path / "prj.conf").write_text("CONFIG_NARROWS_KERNELS_DSP=y\nCONFIG_NARROWS_DETECTION=y\n")
    code = """if True:
        import sys, kconfiglib
        kconfig = kconfiglib.Kconfig(sys.argv[1])
        for path in sys.argv[2:]:
            kconfig.load_config(path, replace=False)
        for symbol in kconfig.unique_defined_syms:
            if symbol.str_value == "y":
                print(symbol.name)
    """
    sample = folder / "samples" / "digits"
    own = tmp_path / "prj.conf"
    said = run(sys.executable, "-c", code, tmp_path / "Kconfig", sample / "prj.conf", own)
    chosen = set(said.split())
    assert chosen == {f"NARROWS{end}" for end in ("", "_KERNELS_DSP", "_FAST", "_DETECTION")}
    defines = [f"-DCONFIG_{name}=y" for name in sorted(chosen)]
    stub = [
        *defines,
        f"-DMODULE={folder / 'zephyr' / 'CMakeLists.txt'}",
        "-P",
        HERE / "zephyr.cmake",
    ]
    lines = run(cmake, *stub).splitlines()
    sources = [Path(line.split()[1]) for line in lines if line.startswith("source ")]
    assert [path.name for path in sources] == ["narrows.c", "narrows_detection.c"]
    assert all(path.is_file() for path in sources)
    assert "definition NARROWS_KERNELS_DSP" in lines
    assert "option -O2" in lines
    listed = re.search(
        r"target_sources\(app PRIVATE ([^)]*)\)", (sample / "CMakeLists.txt").read_text()
    )
    assert listed is not None
    assert all((sample / name).is_file() for name in listed.group(1).split())


def test_esp_idf(cmake: str, packed: dict[str, Path]) -> None:
    """The component needs no file beside itself, and has its version."""
    folder = folder_of(packed, "esp_idf")
    manifest = yaml.safe_load((folder / "idf_component.yml").read_text())
    assert manifest["version"] == VERSION
    stub = ROOT / "tests" / "esp_idf" / "stub.cmake"
    defines = ["-DIDF_VERSION_MAJOR=5", "-DIDF_VERSION_MINOR=3"]
    defines.append(f"-DCOMPONENT={folder / 'CMakeLists.txt'}")
    words = [line.split(" ", 1) for line in run(cmake, *defines, "-P", stub).splitlines()]
    sources = [(folder / path).resolve() for kind, path in words if kind == "SRCS"]
    assert all(path.is_file() and folder.resolve() in path.parents for path in sources)
    names = {path.name for path in sources}
    assert {path.name for path in (RUNTIME / "ops").glob("*.c")} < names
    assert {"port.c", "server.c", "frame.c"} < names
    project = folder / "examples" / "server" / "CMakeLists.txt"
    text = project.read_text()
    (component,) = re.findall(r"EXTRA_COMPONENT_DIRS \$\{CMAKE_CURRENT_LIST_DIR\}/(\S+)\)", text)
    assert (project.parent / component).resolve() == folder.resolve()


def test_cmsis_pack(packed: dict[str, Path]) -> None:
    """Rules of our own, since no package has the schema: order and names of the elements, one name
    of vendor and pack throughout, and files that are there."""
    archive = packed["cmsis_pack"]
    assert archive.name == f"narrows.narrows.{VERSION}.pack"
    with zipfile.ZipFile(archive) as pack:
        names = set(pack.namelist())
        root = ElementTree.fromstring(pack.read("narrows.narrows.pdsc"))
    assert root.tag == "package"
    assert [child.tag for child in root] == [
        *("vendor", "name", "description", "url", "license", "releases", "keywords", "conditions"),
        "components",
    ]
    assert (root.findtext("vendor"), root.findtext("name")) == ("narrows", "narrows")
    assert root.findtext("license") in names
    (release,) = root.iterfind("releases/release")
    assert (release.get("version"), release.get("date")) == (VERSION, "2024-02-29")
    conditions = {condition.get("id") for condition in root.iterfind("conditions/condition")}
    components = list(root.iterfind("components/component"))
    for component in components:
        assert component.get("Cversion") == VERSION
        assert component.get("condition") in conditions
    for file in root.iter("file"):
        name = str(file.get("name"))
        assert name in names or any(other.startswith(name) for other in names if name[-1] == "/")
    triples = {(c.get("Cclass"), c.get("Cgroup"), c.get("Csub")) for c in components}
    for wish in root.iter("require"):
        triple = (wish.get("Cclass"), wish.get("Cgroup"), wish.get("Csub"))
        assert wish.get("condition") in conditions or triple in triples


def test_the_same_sources_make_the_same_archives(packed: dict[str, Path], tmp_path: Path) -> None:
    packer = Packer(tmp_path, "https://example.org/narrows/", "2024-02-29")
    for kind in ("cmsis_pack", "cmake"):
        assert KINDS[kind](packer).read_bytes() == packed[kind].read_bytes()


def test_no_placeholder_is_left(packed: dict[str, Path]) -> None:
    for kind in KINDS:
        for path in folder_of(packed, kind).rglob("*"):
            if path.is_file():
                assert not re.search(r"@(VERSION|URL|DATE|DIGIT)@", path.read_text()), path
