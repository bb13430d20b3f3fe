# SPDX-License-Identifier: Apache-2.0
"""The default model on held-out digits: host, board in QEMU, TensorFlow Lite Micro.

``python -m narrows.demo`` ends with 0 only if every place gives the same bytes and at least
98% of the digits are recognized. A place whose tools are missing is left out and named, with
what to install. ``python -m narrows.demo --save FOLDER`` writes the files to play with instead.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from narrows import interrupt

if __name__ == "__main__":  # before whatever takes long to load
    interrupt.leave_at_once()

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from narrows.cli.console import progress_bar
from narrows.compiler import CompileOptions, compile_model
from narrows.errors import NarrowsError, ToolError
from narrows.files import read_file, write_file
from narrows.graph.qgraph import Int8Array
from narrows.models import (
    DIGITS_FLOAT,
    DIGITS_INT8,
    DIGITS_LABELS,
    DIGITS_METADATA,
    Digits,
    enlarge_digits,
    load_held_out,
    prepare_digits,
)
from narrows.result import Progress, Result
from narrows.targets import open_target

BOARD = "mps2-an386"
LEAST_ACCURACY = 0.98
_REFERENCE = "TFLite Micro"
DRAWN = 3  # a seven
_INK = " .:-=+*#%@"
_BAR = 24


@dataclass(frozen=True, eq=False)
class Answers:
    """What one place says.

    outputs: int8 [n, 10], of the first n digits.
    seconds: what all n took, links and emulation included.
    result: the last inference's figures; None where there are none.
    """

    place: str
    outputs: Int8Array
    seconds: float
    result: Result | None = None

    def correct(self, digits: Digits) -> int:
        """How many of its digits it recognizes."""
        guesses = self.outputs.argmax(axis=1)
        return int((guesses == digits.labels[: len(guesses)]).sum())


def ask_target(spec: str, blob: bytes, inputs: Int8Array, progress: Progress) -> Answers:
    """Run the blob on ``host`` or ``qemu:BOARD``.

    Args:
        inputs: int8 [n, 32, 32, 1].

    Raises: NarrowsError; ToolError if something is not installed.
    """
    outputs = []
    with open_target(spec, blob, progress) as target:
        start = time.monotonic()
        for done, image in enumerate(inputs, 1):
            result = target.infer([image])
            outputs.append(result.outputs[0].ravel())
            progress(spec, done / len(inputs))
        return Answers(spec, np.stack(outputs), time.monotonic() - start, result)


def ask_reference(inputs: Int8Array, progress: Progress) -> Answers:
    """Run the model with TensorFlow Lite Micro. Raises: ToolError if it is not installed."""
    try:
        from tflite_micro import runtime
    except ImportError as error:
        raise ToolError("not installed: pip install --pre tflite-micro") from error
    outputs = []
    interpreter = runtime.Interpreter.from_file(str(DIGITS_INT8))
    start = time.monotonic()
    for done, image in enumerate(inputs, 1):
        interpreter.set_input(image[np.newaxis], 0)
        interpreter.invoke()
        outputs.append(interpreter.get_output(0).ravel())
        progress(_REFERENCE, done / len(inputs))
    return Answers(_REFERENCE, np.stack(outputs), time.monotonic() - start)


def draw_digit(image: Int8Array, scores: Int8Array) -> Table:
    """One digit in ASCII, beside it how sure the network is of each class.

    Args:
        image: int8 [32, 32, 1]; scores: int8 [10], probability = (score + 128) / 256.
    """
    ink = (image[1::2, :, 0].astype(np.int32) + 128) * len(_INK) // 256
    picture = "\n".join("".join(_INK[value] for value in row) for row in ink)
    probabilities = (scores.astype(np.int32) + 128) / 256
    lines = ["", ""]
    for label, probability in zip(DIGITS_LABELS, probabilities, strict=True):
        bar = "█" * round(_BAR * probability)
        style = "bold green" if probability == probabilities.max() else "dim"
        lines.append(f"[{style}]{label}  {bar:{_BAR}} {probability:4.0%}[/]")
    table = Table.grid(padding=(0, 4))
    table.add_row(picture, "\n".join(lines))
    return table


def tabulate(places: Sequence[Answers], digits: Digits) -> Table:
    """A line for each place: accuracy, RAM (stack included), instructions per inference."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", no_wrap=True)
    for heading in ("recognized", "arena", "RAM", "instructions", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for answers in places:
        count, correct, result = len(answers.outputs), answers.correct(digits), answers.result
        instructions = result.instructions if result else None
        table.add_row(
            answers.place,
            f"{correct} of {count}, {correct / count:.1%}",
            f"{result.arena_bytes:,} B" if result else "",
            f"{result.ram_high_water_bytes:,} B" if result else "",
            f"{instructions:,}" if instructions is not None else "",
            f"{answers.seconds:.1f} s",
        )
    return table


def run_demo(console: Console, board: str = BOARD, board_digits: int | None = None) -> bool:
    """Print the demo.

    Args:
        board_digits: how many digits the board gets; None for all.

    Returns: whether all is as it should be.

    Raises: NarrowsError.
    """
    digits = load_held_out()
    inputs = prepare_digits(digits.images)
    compiled = compile_model(DIGITS_INT8, CompileOptions(metadata=DIGITS_METADATA))
    console.print(
        f"[bold]{DIGITS_INT8.name}[/]: a MobileNetV2 for handwritten digits, "
        f"{compiled.plan.macs / 1e6:.2f} M MACs.\n"
        f"Compiled to a blob of {len(compiled.blob):,} B; the plan's arena is "
        f"{compiled.plan.arena_total:,} B.\n"
    )
    missing = []
    with progress_bar() as progress:
        host = ask_target("host", compiled.blob, inputs, progress)
        places = [host]
        try:
            places.append(
                ask_target(f"qemu:{board}", compiled.blob, inputs[:board_digits], progress)
            )
        except ToolError as error:
            missing.append(f"qemu:{board}: {error}")
        try:
            places.append(ask_reference(inputs, progress))
        except ToolError as error:
            missing.append(f"{_REFERENCE}: {error}")

    console.print(draw_digit(inputs[DRAWN], host.outputs[DRAWN]))
    console.print(tabulate(places, digits))
    console.print()
    failures = []
    for other in places[1:]:
        count = len(other.outputs)
        differing = int((other.outputs != host.outputs[:count]).any(axis=1).sum())
        if differing:
            failures.append(f"{other.place} differs from the host for {differing} digits")
        else:
            console.print(
                f"[green]✓[/] {other.place} and host: the same bytes for all {count} digits"
            )
    for line in missing:
        console.print(f"[yellow]![/] left out {line}", soft_wrap=True)
    accuracy = host.correct(digits) / len(digits)
    if accuracy < LEAST_ACCURACY:
        failures.append(f"accuracy {accuracy:.2%} is below {LEAST_ACCURACY:.0%}")
    for line in failures:
        console.print(f"[bold red]✗[/] {line}")
    return not failures


def save_files(folder: Path) -> list[Path]:
    """Write what every command takes: the models, the float one and the int8 one, the blob, a data
    set of real values (``x`` [n, 32, 32, 1], ``y`` [n]) and a picture.

    Returns: the files.

    Raises: NarrowsError: the folder cannot be written.
    """
    digits = load_held_out()
    pixels = enlarge_digits(digits.images)
    values = (pixels[..., np.newaxis] / 255).astype(np.float32)
    data, picture = io.BytesIO(), io.BytesIO()
    np.savez_compressed(data, x=values, y=digits.labels)
    Image.fromarray(pixels[DRAWN]).save(picture, "PNG")
    compiled = compile_model(DIGITS_INT8, CompileOptions(metadata=DIGITS_METADATA))
    contents = {
        DIGITS_FLOAT.name: read_file(DIGITS_FLOAT, "model"),
        DIGITS_INT8.name: read_file(DIGITS_INT8, "model"),
        "digits.nrw": compiled.blob,
        "digits.npz": data.getvalue(),
        "digit.png": picture.getvalue(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NarrowsError(f"{folder}: cannot be written: {error.strerror}") from error
    for name, content in contents.items():
        write_file(folder / name, content)
    return [folder / name for name in contents]


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number, 1 or more")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo. Returns: the exit code, 0 or 1."""
    parser = argparse.ArgumentParser(
        prog="python -m narrows.demo", description="Recognize held-out handwritten digits."
    )
    parser.add_argument("--board", default=BOARD, help="board in QEMU (default: %(default)s)")
    parser.add_argument(
        "--board-digits",
        type=_count,
        metavar="N",
        help="how many of them on the board (default: all)",
    )
    parser.add_argument(
        "--save",
        type=Path,
        metavar="FOLDER",
        help="write models, blob, data set and a picture here, and do nothing else",
    )
    options = parser.parse_args(arguments)
    try:
        if options.save is not None:
            print("\n".join(map(str, save_files(options.save))))
            return 0
        good = run_demo(Console(highlight=False), options.board, options.board_digits)
    except NarrowsError as error:
        print(f"narrows.demo: {error}", file=sys.stderr)
        return 1
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(interrupt.run(main))
