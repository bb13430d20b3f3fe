# SPDX-License-Identifier: Apache-2.0
"""A blob as C source: for projects that compile what they flash."""

from __future__ import annotations

import re

from narrows.blob import Blob
from narrows.errors import UsageError

_BYTES_A_LINE = 16
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# Keywords of C and C++, under which nothing can be declared.
_RESERVED = """
alignas alignof and asm auto bool break case catch char class const constexpr continue default
delete do double else enum explicit export extern false float for friend goto if inline int long
mutable namespace new noexcept not nullptr operator or private protected public register restrict
return short signed sizeof static struct switch template this throw true try typedef typeid
typename union unsigned using virtual void volatile wchar_t while xor
"""
_KEYWORDS = frozenset(_RESERVED.split())


def identifier(text: str) -> str:
    """A name for C that is like a file's: letters, digits and underscores."""
    name = re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_")
    if not name or name[0].isdigit() or name in _KEYWORDS:
        name = f"model_{name}".rstrip("_")
    return name


def check_identifier(name: str) -> None:
    """Raises: UsageError: C has no such names."""
    if not _NAME.fullmatch(name) or name in _KEYWORDS:
        raise UsageError(
            f"--name {name!r} is no name for an array in C; give letters, digits and underscores"
        )


def embed_source(blob: Blob, name: str, header: str) -> str:
    """The C file that defines the array. name: of the array. header: the file that declares it."""
    data = blob.data
    lines = (
        "    " + " ".join(f"0x{byte:02x}," for byte in data[at : at + _BYTES_A_LINE])
        for at in range(0, len(data), _BYTES_A_LINE)
    )
    return "\n".join(
        [
            f"/* {_comment(blob.name)}, compiled by narrows for its runtime. */",
            f'#include "{header}"',
            "",
            f"{name.upper()}_ALIGNED const uint8_t {name}[{name.upper()}_BYTES] = {{",
            *lines,
            "};",
            "",
        ]
    )


def embed_header(blob: Blob, name: str) -> str:
    """The header that declares it, with the sizes that a caller needs and an example."""
    upper, guard = name.upper(), f"{name.upper()}_H"
    ports = [
        f" *   {what} {number}: {edge.dtype} {list(edge.shape)}, {_comment(edge.name)}"
        for what, edges in (("input", blob.inputs), ("output", blob.outputs))
        for number, edge in enumerate(edges)
    ]
    return f"""\
/*
 * {_comment(blob.name)}, compiled by narrows for its runtime.
 *
{chr(10).join(ports)}
 *
 *     static {upper}_ALIGNED uint8_t memory[{upper}_MEMORY_BYTES];
 *     struct nrw_model model;
 *     struct nrw_run run;
 *     int status = nrw_open(&model, {name}, {upper}_BYTES);
 *     if (status == NRW_OK) status = nrw_start(&run, &model, memory, sizeof memory);
 *     while (status >= 0 && status != NRW_DONE) {{
 *         if ((status = nrw_step(&run)) == NRW_NEED_ROW) {{
 *             read_row(nrw_row_slot(&run), nrw_due_bytes(&run));
 *             status = nrw_push_slot(&run);
 *         }}
 *     }}
 *     const int8_t *scores = nrw_output(&run, 0);
 */
#ifndef {guard}
#define {guard}

#include <stdint.h>

/* The runtime reads words of a blob and of its memory. */
#if defined(_MSC_VER)
#define {upper}_ALIGNED __declspec(align(16))
#else
#define {upper}_ALIGNED __attribute__((aligned(16)))
#endif

#define {upper}_BYTES {len(blob.data)}u
/* What nrw_start wants: {blob.model.arena_bytes} bytes of arena, and counters. */
#define {upper}_MEMORY_BYTES {blob.model.memory_bytes}u

#ifdef __cplusplus
extern "C" {{
#endif
extern const uint8_t {name}[{upper}_BYTES];
#ifdef __cplusplus
}}
#endif

#endif
"""


def _comment(text: str) -> str:
    """A model's own words where a comment ends at the next ``*/``."""
    return re.sub(r"[^ -~]", "?", text).replace("*/", "* /").replace("/*", "/ *")[:80]
