# SPDX-License-Identifier: Apache-2.0
"""The runtime as one C file, for projects that have no build system to speak of.

All implementations of the kernels are in it; macros choose one, else what the compiler says of its
target does. Names that two files of the runtime have for things of their own get the file's name
before them, and a file's own macros end with it.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

IMPLEMENTATIONS = ("mve", "dsp", "fast", "avx2", "neon", "c")
LAYOUTS = ("plain", "blocked", "paired")

_HEAD = """\
/* SPDX-License-Identifier: Apache-2.0 */
/*
 * narrows @VERSION@: the runtime in one file, made of its sources by `make dist`. It wants a
 * compiler for C99 with GNU attributes (GCC, Clang, Zig, Arm Compiler 6), and beyond that memcpy,
 * memmove and memset.
 *
 * Macros that may be defined before, on the compiler's command line:
 *
 *   NARROWS_KERNELS_C, _FAST, _DSP, _MVE, _AVX2, _NEON
 *     One of them: the implementation of the kernels. C is small and portable, FAST portable and
 *     arranged for speed, DSP for Cortex-M4, M7 and M33, MVE for Cortex-M55 and M85. Without one it
 *     is the fastest that the compiler's target runs. AVX2 and NEON ask the processor.
 *   NARROWS_LAYOUT_PLAIN, _BLOCKED, _PAIRED
 *     One or more of them: which orders of weights are taken (`narrows compile --layout`). Without
 *     one it is all that the implementation has. Others are refused with NRW_ERR_LAYOUT.
 *   NRW_OPERATORS
 *     The operators of the build; the list that is taken without it stands below.
 */
#if !(@NO_KERNELS@)
#if defined(__ARM_FEATURE_MVE)
#define NARROWS_KERNELS_MVE
#elif defined(__ARM_FEATURE_DSP) && defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'
#define NARROWS_KERNELS_DSP
#elif defined(__x86_64__)
#define NARROWS_KERNELS_AVX2
#elif defined(__aarch64__)
#define NARROWS_KERNELS_NEON
#elif defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
#define NARROWS_KERNELS_C
#else
#define NARROWS_KERNELS_FAST
#endif
#endif

#if @KERNELS_COUNT@ != 1
#error "narrows: define one NARROWS_KERNELS_... at most"
#endif

#if !(@NO_LAYOUTS@)
#define NARROWS_LAYOUT_ANY
#endif

/* What would be a header's function elsewhere need not be used by every implementation. */
#pragma GCC diagnostic ignored "-Wunused-function"
"""

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)".*\n', re.MULTILINE)
_KERNELS_INCLUDE = re.compile(r"^#include NRW_KERNELS\n", re.MULTILINE)
_LICENCE = re.compile(r"\A/\* SPDX-License-Identifier: [^*]*\*/\n")
# What is no code of C: comments, strings and characters.
_WORDS = re.compile(
    r"""/\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""", re.DOTALL | re.VERBOSE
)
_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
_DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", re.MULTILINE)
_STATIC = re.compile(r"\bstatic\b[^;{}=]*?\b(\w+)\s*(?=[(\[=;{])")
_FUNCTION = re.compile(r"\b((?!nrw_)[a-z]\w*)\s*\([^(){}]*(?:\([^()]*\)[^(){}]*)*\)\s*\{")
_TYPEDEF = re.compile(r"\btypedef\b[^;]*?\b(\w+)\s*(?:\[[^;]*\])?\s*;")
_TAG = re.compile(r"\b(?:struct|union|enum)\s+(\w+)\s*\{")
_ENUM = re.compile(r"\benum\b\s*\w*\s*\{([^}]*)\}")


def amalgamate(runtime: Path, version: str) -> str:
    """The C file. runtime: the folder of the sources."""
    return _Amalgamation(runtime).text().replace("@VERSION@", version)


def _blank(text: str) -> str:
    """Without comments and strings, in as many characters."""
    return _WORDS.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def own_names(text: str) -> tuple[set[str], set[str]]:
    """What a file defines for itself: names of functions, objects, constants,
    types and macros; tags."""
    code = _DIRECTIVE.sub("", _blank(text))
    outside, depth = [], 0
    for character in code:
        depth -= character == "}"
        if depth == 0:
            outside.append(character)
        depth += character == "{"
    top = "".join(outside)
    # Only the outermost parts of a definition are left, so an enumeration is looked up in all.
    names = {*_STATIC.findall(top), *_FUNCTION.findall(top), *_TYPEDEF.findall(top)}
    names |= macros_of(text)
    for match in _ENUM.finditer(code):
        if _is_outside(code, match.start()):
            names |= set(re.findall(r"(?:^|,)\s*(\w+)", match.group(1)))
    tags = {match.group(1) for match in _TAG.finditer(code) if _is_outside(code, match.start())}
    return names, tags


def macros_of(text: str) -> set[str]:
    """The macros that a file defines."""
    return set(_DEFINE.findall(_blank(text)))


def _is_outside(code: str, place: int) -> bool:
    """Whether no brace is open."""
    return code.count("{", 0, place) == code.count("}", 0, place)


def renamed(text: str, names: set[str], tags: set[str], prefix: str) -> str:
    """With a prefix before those names, where they are no members, and before those tags."""
    word = re.compile(
        r"(?P<before>(?:\.|->|\bstruct|\bunion|\benum)\s*)?\b(?P<name>[A-Za-z_]\w*)\b"
    )

    def rename(match: re.Match[str]) -> str:
        before, name = match["before"] or "", match["name"]
        is_member = before.strip() in (".", "->")
        is_tag = before != "" and not is_member
        own = not is_member and name in (tags if is_tag else names)
        return f"{before}{prefix}_{name}" if own else match.group()

    parts, end = [], 0
    for match in _WORDS.finditer(text):
        parts += [word.sub(rename, text[end : match.start()]), match.group()]
        end = match.end()
    return "".join((*parts, word.sub(rename, text[end:])))


class _Amalgamation:
    """The sources, and which headers stand already in the text that grows."""

    def __init__(self, runtime: Path) -> None:
        self._runtime = runtime
        folders = [runtime / name for name in ("src", "ops", "kernels")]
        sources = [path for folder in folders for path in sorted(folder.glob("*.c"))]
        self._texts = {path: path.read_text(encoding="utf-8") for path in sources}
        own = {path: own_names(text) for path, text in self._texts.items()}
        names = Counter(name for found, _ in own.values() for name in found)
        for header in runtime.glob("*/*.h"):
            names.update(macros_of(header.read_text(encoding="utf-8")))
        tags = Counter(tag for _, found in own.values() for tag in found)
        self._shared = {
            path: ({n for n in found if names[n] > 1}, {t for t in its_tags if tags[t] > 1})
            for path, (found, its_tags) in own.items()
        }
        self._headers: set[Path] = {runtime / "include" / "narrows.h"}

    def text(self) -> str:
        kernels = self._runtime / "kernels"
        common = [path for path in self._texts if path.parent != kernels]
        common += [path for path in self._texts if path.stem.endswith("_c")]
        common.append(kernels / "layouts.c")
        # A table is needed wherever it is named, so those of the portable kernels are like others.
        parts = [self._head(), *(self._source(path) for path in common if not _is_table(path))]
        known = set(self._headers)
        for name in IMPLEMENTATIONS:
            # Only one of these blocks is compiled, so each has all headers that it needs.
            self._headers = set(known)
            own = [path for path in self._texts if path.stem.endswith(f"_{name}")]
            block = [path for path in own if _is_table(path) or name != "c"]
            parts.append(f"\n#ifdef NARROWS_KERNELS_{name.upper()}\n")
            parts += map(self._source, sorted(block, key=_is_table))
            parts.append(f"\n#endif /* NARROWS_KERNELS_{name.upper()} */\n")
        return "".join(parts)

    def _head(self) -> str:
        kernels = [f"defined(NARROWS_KERNELS_{name.upper()})" for name in IMPLEMENTATIONS]
        layouts = [f"defined(NARROWS_LAYOUT_{name.upper()})" for name in LAYOUTS]
        head = _HEAD.replace("@NO_KERNELS@", " || \\\n      ".join(kernels))
        head = head.replace("@KERNELS_COUNT@", " + \\\n    ".join(kernels))
        head = head.replace("@NO_LAYOUTS@", " || ".join(layouts))
        lines = []
        for layout in LAYOUTS:
            upper = layout.upper()
            having = [
                name
                for name in IMPLEMENTATIONS
                if (self._runtime / "kernels" / f"kernels_{layout}_{name}.c").exists()
            ]
            lines.append(f"\n#if defined(NARROWS_LAYOUT_{upper}) || defined(NARROWS_LAYOUT_ANY)")
            for number, name in enumerate(having):
                lines.append(f"#{'el' * (number > 0)}if defined(NARROWS_KERNELS_{name.upper()})")
                lines.append(f"#define NARROWS_{upper}(X) X({upper}, {layout}_{name})")
            lines.append(f"#elif defined(NARROWS_LAYOUT_{upper})")
            lines.append(f'#error "narrows: these kernels have no layout {layout}"')
            lines += ["#endif", "#endif", f"#ifndef NARROWS_{upper}", f"#define NARROWS_{upper}(X)"]
            lines.append("#endif")
        tables = " ".join(f"NARROWS_{layout.upper()}(X)" for layout in LAYOUTS)
        lines += [f"#define NRW_LAYOUTS(X) {tables}", "", '#include "narrows.h"', ""]
        return head + "\n".join(lines)

    def _source(self, path: Path) -> str:
        text = renamed(self._texts[path], *self._shared[path], path.stem)
        body = self._expanded(path, text)
        macros = sorted(macros_of(text))
        ends = "".join(f"#undef {name}\n" for name in macros)
        return f"\n/* --- {path.relative_to(self._runtime)} --- */\n{body}{ends}"

    def _expanded(self, path: Path, text: str) -> str:
        """With its headers in the place of its first mention of each."""

        def include(match: re.Match[str]) -> str:
            beside = (path.parent / match.group(1)).resolve()
            folders = (path.parent, *(self._runtime / name for name in ("include", "src")))
            found = [beside, *((folder / match.group(1)).resolve() for folder in folders)]
            header = next(place for place in found if place.exists())
            known = set(self._headers)
            expanded = self._header(header)
            # What stands under a condition may be missing later, so it comes again.
            if _is_conditional(text, match.start(), path.suffix == ".h"):
                self._headers = known
            return expanded

        text = _KERNELS_INCLUDE.sub(lambda _: self._kernel_names(), _LICENCE.sub("", text))
        return _INCLUDE.sub(include, text)

    def _header(self, path: Path) -> str:
        if path in self._headers:
            return ""
        self._headers.add(path)
        return self._expanded(path, path.read_text(encoding="utf-8"))

    def _kernel_names(self) -> str:
        """In the place of the implementation's own header: all of them, of which one counts."""
        portable = self._runtime / "kernels" / "names_c.h"
        text = portable.read_text(encoding="utf-8")
        declared = "".join(self._header(portable.parent / name) for name in _INCLUDE.findall(text))
        parts = [declared]
        for name in IMPLEMENTATIONS[:-1]:
            header = portable.with_name(f"names_{name}.h")
            own = _LICENCE.sub("", _INCLUDE.sub("", header.read_text(encoding="utf-8")))
            parts.append(f"#ifdef NARROWS_KERNELS_{name.upper()}\n{own}#endif\n")
        return "".join((*parts, self._header(portable)))


def _is_conditional(text: str, place: int, guarded: bool) -> bool:
    """Whether an #if is open there. guarded: the file has an include guard around all."""
    opened = len(re.findall(r"(?m)^[ \t]*#[ \t]*if", text[:place]))
    closed = len(re.findall(r"(?m)^[ \t]*#[ \t]*endif", text[:place]))
    return opened - closed > int(guarded)


def _is_table(path: Path) -> bool:
    """Whether it is a table of kernels for a layout."""
    return path.stem.startswith("kernels_")
