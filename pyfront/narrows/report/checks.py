# SPDX-License-Identifier: Apache-2.0
"""A check as JSON and as JUnit XML."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

from narrows.checking import Check, Verdict

# XML has no way to write these; a board may have sent them.
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def check_json(check: Check) -> dict[str, Any]:
    """What ``--json`` holds."""
    return {
        "model": check.model,
        "reference": check.reference,
        "agree": check.agree,
        "mode": "each" if check.each else "shared",
        "items": check.items,
        "missing": check.missing,
        "targets": [verdict_json(verdict) for verdict in check.verdicts],
        "total": verdict_json(check.total),
    }


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """What is unknown is left out; only ``failure`` is null where there is none."""
    items = verdict.items
    known: dict[str, Any] = {
        "target": verdict.spec,
        "name": verdict.name,
        "items": items,
        "differing": verdict.differing,
        "correct": verdict.correct,
        "accuracy": None if verdict.correct is None else verdict.correct / items,
        "top5": verdict.top5,
        "top5_accuracy": None if verdict.top5 is None else verdict.top5 / items,
        "instructions": verdict.instructions,
        "seconds": verdict.seconds,
        "items_per_second": verdict.items_per_second,
        "wall_seconds": verdict.wall_seconds,
        "ram_high_water_bytes": verdict.ram_high_water_bytes,
    }
    report = {key: value for key, value in known.items() if value is not None}
    return report | {"failure": verdict.failure}


def junit(check: Check) -> bytes:
    """A test suite for each target, a test case for each item that it ran; a target that did not
    finish has one more case, which is an error."""
    suites = ET.Element("testsuites")
    for verdict in check.verdicts:
        differing = set(verdict.differing or ())
        failed = verdict.failure is not None
        suite = ET.SubElement(
            suites,
            "testsuite",
            name=_text(f"{check.model} on {verdict.name}"),
            tests=str(verdict.items + failed),
            failures=str(len(differing)),
            errors=str(int(failed)),
            time=f"{verdict.wall_seconds:.3f}",
        )
        model = _text(check.model)
        for one in verdict.checked:
            case = ET.SubElement(suite, "testcase", name=f"input {one.item}", classname=model)
            if one.item in differing:
                ET.SubElement(case, "failure", message="output differs from the reference")
        if verdict.failure is not None:
            case = ET.SubElement(suite, "testcase", name="the target itself", classname=model)
            ET.SubElement(case, "error", message=_text(verdict.failure))
    return bytes(ET.tostring(suites, encoding="utf-8", xml_declaration=True))


def _text(text: str) -> str:
    return _NOT_XML.sub("?", text)
