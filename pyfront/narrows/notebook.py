# SPDX-License-Identifier: Apache-2.0
"""Tables for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """A table in HTML; columns whose heading ends with ``>`` stand at the right."""
    right = [heading.endswith(">") for heading in headings]

    def row(tag: str, cells: Iterable[object]) -> str:
        return "".join(
            f'<{tag} style="text-align: {"right" if at_right else "left"}">'
            f"{escape(str(cell))}</{tag}>"
            for cell, at_right in zip(cells, right, strict=True)
        )

    head = row("th", (heading.rstrip(">") for heading in headings))
    body = "".join(f"<tr>{row('td', cells)}</tr>" for cells in rows)
    title = f'<caption style="text-align: left">{escape(caption)}</caption>' if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
