# SPDX-License-Identifier: Apache-2.0
"""Pages whose text stands elsewhere in the repository, and links to what is no page.

A page with an ``{include}`` shows that file, or the part of it between the lines ``:after:`` and
``:before:``. A page with a ``{c-header}`` block shows a header's declarations. Links in all of them
are written as files of the repository link each other, so that they work where Markdown is browsed
as it is; here they lead to the page that shows the file. Files that no page shows are put beside
the pages, to be downloaded.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import c_headers
from sphinx.application import Sphinx

_INCLUDE = re.compile(r"^```\{include\} (\S+)\n(?::after: (.+)\n:before: (.+)\n)?```$", re.M)
_HEADER = re.compile(r"^```\{c-header\} (\S+)\n```$", re.M)
_LINK = re.compile(r"(?<!!)(\[[^\]]*\])\(([^)\s:#]*)(#[^)\s]*)?\)")
_CODE = re.compile(r"(^ *```.*?^ *```$|`[^`\n]+`)", re.M | re.S)


def shown_files(docs: Path) -> dict[Path, str]:
    """File of the repository -> the page, without ``.md``, that shows it whole."""
    found = {}
    for page in sorted(docs.rglob("*.md")):
        name = page.relative_to(docs).with_suffix("").as_posix()
        text = page.read_text(encoding="utf-8")
        for match in (*_INCLUDE.finditer(text), *_HEADER.finditer(text)):
            if match.lastindex == 1:
                found[(page.parent / match.group(1)).resolve()] = name
    return found


class Pages:
    """What ``source-read`` does to the text of a page."""

    def __init__(self, docs: Path) -> None:
        self.docs = docs
        self.shown = shown_files(docs)

    def text(self, page: str, source: str) -> str:
        """The Markdown that Sphinx reads for a page. page: its name, without ``.md``."""
        folder = (self.docs / page).parent

        def include(match: re.Match[str]) -> str:
            file = (folder / match.group(1)).resolve()
            text = file.read_text(encoding="utf-8")
            if match.group(2):
                text = text.split(f"\n{match.group(2)}\n", 1)[1].split(f"\n{match.group(3)}\n")[0]
            return self._relinked(text, file.parent, folder)

        def header(match: re.Match[str]) -> str:
            file = (folder / match.group(1)).resolve()
            return c_headers.markdown(file, lambda name: self._of_comment(name, file, folder))

        text = _HEADER.sub(header, self._relinked(source, folder, folder))
        return _INCLUDE.sub(include, text)

    def files(self, page: str, source: str) -> list[Path]:
        """What the page shows, so that it is read again when one of them has changed."""
        folder = (self.docs / page).parent
        matches = (*_INCLUDE.finditer(source), *_HEADER.finditer(source))
        return [(folder / match.group(1)).resolve() for match in matches]

    def _relinked(self, text: str, origin: Path, folder: Path) -> str:
        """Links of a text that stands in ``origin``, for a page in ``folder``."""

        def link(match: re.Match[str]) -> str:
            words, file, anchor = match.group(1), match.group(2), match.group(3) or ""
            if not file:
                return match[0]
            target = self._target(file, origin, folder)
            other = (folder / target).resolve()
            if other.suffix == ".md" and not other.is_relative_to(self.docs):
                return f"{{download}}`{words[1:-1]} <{target}>`"  # MyST takes it for a page
            return f"{words}({target}{anchor})"

        parts = _CODE.split(text)
        return "".join(part if i % 2 else _LINK.sub(link, part) for i, part in enumerate(parts))

    def _target(self, file: str, origin: Path, folder: Path) -> str:
        path = (origin / file).resolve()
        page = self.shown.get(path)
        path = path if page is None else self.docs / f"{page}.md"
        return Path(os.path.relpath(path, folder)).as_posix()

    def _of_comment(self, name: str, header: Path, folder: Path) -> str | None:
        """The link of a file that a header's comment names: it stands above the header."""
        if not name.endswith(".md"):
            return None
        found = [above / name for above in header.parents if (above / name).is_file()]
        return self._target(str(found[0]), header.parent, folder) if found else None


def _source_read(app: Sphinx, page: str, source: list[str]) -> None:
    pages = Pages(Path(app.srcdir))
    for file in pages.files(page, source[0]):
        app.env.note_dependency(str(file))
    if (Path(app.srcdir) / f"{page}.md").exists():
        source[0] = pages.text(page, source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """As Sphinx calls every extension."""
    app.connect("source-read", _source_read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
