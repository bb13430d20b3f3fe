# SPDX-License-Identifier: Apache-2.0
"""The parts of README.md that come from elsewhere, and those that are run.

``python tests/py/readme.py`` writes the generated parts anew.
"""

from __future__ import annotations

import re
from pathlib import Path

from narrows.importers.tflite import supported_operators

README = Path(__file__).resolve().parents[2] / "README.md"


def operator_table() -> str:
    """The table of supported operators, from the importer's own checks."""
    lines = ["| operator | what it must be |", "|---|---|"]
    for operator in supported_operators():
        lines.append(f"| {operator.name} | {' '.join(operator.constraints)} |")
    return "\n".join(lines)


def with_part(text: str, name: str, part: str) -> str:
    """text with what stands between the marks of ``name`` replaced."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, rest = text.split(begin)
    _, tail = rest.split(end)
    return f"{head}{begin}\n{part}\n{end}{tail}"


def blocks(kind: str) -> list[str]:
    """The contents of code blocks whose opening fence says exactly ``kind``."""
    pattern = rf"^```{re.escape(kind)}\n(.*?)^```$"
    return re.findall(pattern, README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    README.write_text(with_part(text, "operators", operator_table()), encoding="utf-8")
