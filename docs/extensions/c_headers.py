# SPDX-License-Identifier: Apache-2.0
"""Pages of the C interface, written from the public headers.

cffi reads the same declarations, with the same parser (pycparser), so what stands here is what
Python calls. A comment right above a declaration, or behind a member, describes it; a comment by
itself is a paragraph; ``/* --- Title --- */`` begins a section.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pycparser import c_ast, c_generator, c_parser

# Types of headers that are not read.
_FOREIGN = ("size_t", "uint8_t", "int8_t", "uint16_t", "int32_t", "uint32_t", "uint64_t")
_FOREIGN = (*_FOREIGN, "esp_err_t")
# The namespace of functions that have the name of a structure: Sphinx has one for both.
_FUNCTIONS = "functions"
_ROLES = {"function": "func"}
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_FOR_CPP = re.compile(r"^#ifdef __cplusplus\n.*?^#endif\n", re.DOTALL | re.MULTILINE)
_MACRO = re.compile(r"^#define ((?:NRW|NARROWS)_\w+) \S+", re.MULTILINE)
_TITLE = re.compile(r"-{3,} (.+?) -{3,}$")
_NAME = re.compile(r"\b(?:nrw|NRW|NARROWS_|narrows_start)\w*(?:\.\w+)?")
# Signs that Markdown takes for its own, but not around an *emphasized* word.
_MARKDOWN = re.compile(r"(?<![\w*])(\*\w+\*)|([\\*_<>\[\]#|~])")


@dataclass(frozen=True)
class Comment:
    """Lines count from 1. alone: nothing stands before it on its first line."""

    first: int
    last: int
    alone: bool
    text: str


@dataclass
class Entry:
    """Declarations that one comment describes. members: of a structure or an enumeration."""

    kind: str
    names: list[str]
    signatures: list[str]
    first: int
    last: int
    text: str = ""
    members: list[Entry] = field(default_factory=list)


def markdown(path: Path, links: Callable[[str], str | None]) -> str:
    """A header's text and declarations in Markdown.

    links: file that the comments name -> link target, or None.
    Raises: ValueError for a declaration that no comment describes.
    """
    text = path.read_text(encoding="utf-8")
    entries, comments = _declarations(text), _comments(text)
    lines = text.split("\n")
    rest = _describe(entries, comments, lines)
    silent = [name for entry in entries for name in entry.names if not entry.text]
    if silent:
        raise ValueError(f"{path}: no comment describes {', '.join(silent)}")
    tags = {name for entry in entries if entry.kind == "struct" for name in entry.names}
    roles = _roles(entries, tags)

    def words(comment: str) -> str:
        return _words(comment, roles, links)

    pieces = [(entry.first, _directive(entry, words, tags)) for entry in entries]
    for comment in rest:
        title = _TITLE.fullmatch(comment.text.strip())
        said = f"## {title.group(1).strip()}" if title else words(comment.text)
        pieces.append((comment.first, said))
    return "\n\n".join(piece for _, piece in sorted(pieces)) + "\n"


def _comments(text: str) -> list[Comment]:
    found = []
    for match in _COMMENT.finditer(text):
        first = text.count("\n", 0, match.start()) + 1
        line = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
        last = first + match.group().count("\n")
        body = re.sub(r"^ *\* ?", "", match.group()[2:-2].strip(" "), flags=re.MULTILINE)
        found.append(Comment(first, last, not line.strip(), body.strip("\n ")))
    # Licence, and what is said to who changes the header.
    return [c for c in found if "SPDX" not in c.text and "cffi" not in c.text]


def _declarations(text: str) -> list[Entry]:
    """All declarations of a header, in its order."""
    blank = _FOR_CPP.sub(lambda m: "\n" * m.group().count("\n"), text)
    blank = _COMMENT.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), blank)
    code = re.sub(r"^#.*$", "", blank, flags=re.MULTILINE)
    types = " ".join(f"typedef int {name};" for name in _FOREIGN)
    tree = c_parser.CParser().parse(f'{types}\n# 1 "header"\n{code}', "header")
    entries = [_entry(node) for node in tree.ext[len(_FOREIGN) :]]
    found = [entry for entry in entries if entry is not None]
    for match in _MACRO.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        found.append(Entry("macro", [match.group(1)], [match.group(1)], line, line))
    found.sort(key=lambda entry: entry.first)
    for entry in found:
        closing = ";" if entry.kind != "macro" else "\n"
        if entry.members:
            closing = "};"
        start = sum(len(line) + 1 for line in code.split("\n")[: entry.first - 1])
        entry.last = entry.first + code.count("\n", start, code.find(closing, start))
    return found


def _entry(node: c_ast.Node) -> Entry | None:
    """A declaration; None for one that only announces a structure."""
    show = c_generator.CGenerator().visit
    line = node.coord.line
    if isinstance(node, c_ast.Typedef):
        signature = show(node).removeprefix("typedef ")
        return Entry("type", [node.name], [signature], line, line)
    if isinstance(node.type, c_ast.Enum):
        own = Entry("enum", [node.type.name], [node.type.name], node.type.coord.line, line)
        for one in node.type.values.enumerators:
            at = one.coord.line
            signature = f"{one.name} = {show(one.value)}"
            own.members.append(Entry("enumerator", [one.name], [signature], at, at))
        return own
    if isinstance(node.type, c_ast.Struct):
        if node.type.decls is None:
            return None
        own = Entry("struct", [node.type.name], [node.type.name], node.type.coord.line, line)
        for one in node.type.decls:
            at = one.coord.line
            own.members.append(Entry("member", [one.name], [show(one)], at, at))
        return own
    return Entry("function", [node.name], [show(node)], line, line)


def _describe(entries: list[Entry], comments: list[Comment], lines: list[str]) -> list[Comment]:
    """Give every entry its comment, and join those that share one. Returns the other comments."""
    above = {c.last + 1: c for c in comments if c.alone}
    behind = {c.first: c for c in comments if not c.alone}
    used = set()
    for i, entry in enumerate(list(entries)):
        comment = above.get(entry.first)
        if comment is not None:
            entry.text = comment.text
            used.add(comment.first)
        elif i and lines[entry.first - 2].strip():
            before = next(e for e in reversed(entries[: entries.index(entry)]))
            if before.kind == entry.kind and not entry.members:
                before.names += entry.names
                before.signatures += entry.signatures
                entries.remove(entry)
        for member in entry.members:
            note = behind.get(member.first) or above.get(member.first)
            if note is not None:
                member.text = note.text
                used.add(note.first)
    return [c for c in comments if c.alone and c.first not in used]


def _roles(entries: list[Entry], tags: Collection[str]) -> dict[str, str]:
    """Name -> what links it. Where a function and a structure have a name, it is the function."""
    roles = {}
    for entry in entries:
        for name in entry.names:
            roles[name] = f"{{c:{_ROLES.get(entry.kind, entry.kind)}}}`{name}`"
            if entry.kind == "function" and name in tags:
                roles[name] = f"{{c:func}}`{name}() <{_FUNCTIONS}.{name}>`"
        for member in entry.members:
            name = member.names[0]
            if entry.kind == "struct":
                name = f"{entry.names[0]}.{name}"
            roles[name] = f"{{c:{member.kind}}}`{name}`"
    return roles


def _words(comment: str, roles: dict[str, str], links: Callable[[str], str | None]) -> str:
    """A comment in Markdown: what is indented is code, names of the interface are links."""
    return "\n\n".join(
        f"```c\n{text}\n```" if is_code else _prose(text, roles, links)
        for is_code, text in _blocks(comment)
    )


def _blocks(comment: str) -> Iterator[tuple[bool, str]]:
    """(is it code, text) of each paragraph."""
    held: list[str] = []
    was_code = False
    for line in [*comment.split("\n"), ""]:
        is_code = line.startswith("  ")
        if held and (not line.strip() or is_code != was_code):
            yield was_code, textwrap.dedent("\n".join(held))
            held = []
        if line.strip():
            held.append(line)
            was_code = is_code


def _prose(text: str, roles: dict[str, str], links: Callable[[str], str | None]) -> str:
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(
        piece if piece.startswith("`") else _linked(piece, roles, links) for piece in pieces
    )


def _linked(text: str, roles: dict[str, str], links: Callable[[str], str | None]) -> str:
    out, end = [], 0
    for match in re.finditer(rf"{_NAME.pattern}|[\w/]+\.md\b", text):
        out.append(_escaped(text[end : match.start()]))
        word, end = match.group(), match.end()
        target = links(word)
        if target is not None:
            out.append(f"[{word}]({target})")
        elif word in roles:
            out.append(roles[word])
        else:
            out.append(f"`{word}`")
    return "".join([*out, _escaped(text[end:])])


def _escaped(text: str) -> str:
    return _MARKDOWN.sub(lambda m: m.group(1) or f"\\{m.group(2)}", text)


def _directive(entry: Entry, words: Callable[[str], str], tags: Collection[str] = ()) -> str:
    """Declarations that share a comment stand one below the other, and the comment below the last.
    tags: of all structures; a function that has one's name stands in ``_FUNCTIONS``."""
    inner = [_directive(member, words) for member in entry.members]
    body = "\n\n".join([words(entry.text), *inner])
    options = ":no-contents-entry:\n" if entry.kind in ("member", "enumerator") else ""
    fence = "`````" if inner else "````"
    parts = []
    for name, signature in zip(entry.names, entry.signatures, strict=True):
        said = f"\n{body}\n" if name == entry.names[-1] else ""
        part = f"{fence}{{c:{entry.kind}}} {signature}\n{options}{said}{fence}"
        if entry.kind == "function" and name in tags:
            push, pop = f"```{{c:namespace-push}} {_FUNCTIONS}\n```", "```{c:namespace-pop}\n```"
            part = f"{push}\n\n{part}\n\n{pop}"
        parts.append(part)
    return "\n\n".join(parts)
