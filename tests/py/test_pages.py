# SPDX-License-Identifier: Apache-2.0
"""What the README and the documentation show does work: their blocks are run, page by page."""

from __future__ import annotations

from pathlib import Path

import pytest

from models import INT8_NETWORKS, need, network
from pages import ROOT, WORDS, agrees, all_pages, is_run, needs, page_blocks, prepare, run_page

# Blocks that a test of their own takes, by these words.
NAMED = ("boxes", "line", "program")


def name(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix()


@pytest.mark.parametrize("path", [path for path in all_pages() if is_run(path)], ids=name)
def test_page(path: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if "qemu" in needs(path):
        need("qemu-system-arm", "arm-none-eabi-gcc")
    if "torch" in needs(path):
        pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    text = path.read_text(encoding="utf-8")
    prefix = str(request.getfixturevalue("installed_runtime")) if "$PREFIX" in text else ""
    prepare(tmp_path, *map(network, INT8_NETWORKS if "shared" in needs(path) else ()))
    run_page(path, tmp_path, PREFIX=prefix)


def test_what_is_shown_is_compared() -> None:
    assert agrees("one ... three\n", "one two three  \n\n")
    assert agrees("a [b] *\n...\n", "a [b] *\nc\nd")
    assert not agrees("one ... three\n", "one two four\n")
    assert not agrees("a\n", "a\nb\n")
    assert not agrees("takes 1,024 B", "takes 2,048 B")
    assert agrees("takes   1,024 B, 9.5%", "takes 12 B, 10.25%", is_like=True)
    assert agrees("int8 1x32", "int8 2x8", is_like=True)
    assert not agrees("takes 1,024 B", "takes none B", is_like=True)


def test_a_block_that_fails_is_named(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# T\n\n```sh run\necho 1\n```\n\n```text output\n2\n```\n")
    with pytest.raises(AssertionError, match=r"page\.md, line 7: this is printed:\n1"):
        run_page(page, tmp_path)
    page.write_text("```sh run\nfalse\n```\n")
    with pytest.raises(AssertionError, match=r"page\.md, line 1"):
        run_page(page, tmp_path)


def test_marks_of_blocks_are_known() -> None:
    """A word that is not understood would be a block that nobody runs."""
    known = {*WORDS, *NAMED}
    for path in all_pages():
        for block in page_blocks(path):
            words = {word for word in block.words if not word.startswith("file=")}
            directive = block.language.startswith("{")
            assert directive or words <= known, f"{path}, line {block.line}: {words - known}"
