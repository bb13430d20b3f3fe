# SPDX-License-Identifier: Apache-2.0
"""The firmware's verification of signatures: against RFC 8032's vectors, libsodium and Python's
integers, under sanitizers, in both widths of limbs; and what it takes on a Cortex-M."""

from __future__ import annotations

import hashlib
import json
import re
import struct
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypeAlias

import pytest
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from conftest import ROOT, BuildC
from models import need

HERE = Path(__file__).parent
APP = ROOT / "firmware" / "app"
SOURCES = (APP / "ed25519.c", APP / "sha512.c")
VECTORS = json.loads((HERE / "rfc8032.json").read_text())["vectors"]
LIMB_BITS = (16, 32)
COUNTS = [*range(70), *range(100, 140), 255, 256, 1000, 4096, 65537]
"""Lengths of messages; with the 64 bytes before them they cross the ends of SHA-512's blocks."""


# --- The curve, as RFC 8032, section 5.1, defines it --------------------------------------------

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P

Point: TypeAlias = tuple[int, int]
NEUTRAL: Point = (0, 1)


def add(a: Point, b: Point) -> Point:
    product = D * a[0] * b[0] * a[1] * b[1]
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + product, -1, P)
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, P)
    return x % P, y % P


def times(factor: int, point: Point) -> Point:
    result = NEUTRAL
    for bit in bin(factor)[2:]:
        result = add(result, result)
        if bit == "1":
            result = add(result, point)
    return result


def minus(point: Point) -> Point:
    return -point[0] % P, point[1]


def root(square: int) -> int | None:
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return x if x * x % P == square % P else None


def x_of(y: int) -> int | None:
    return root((y * y - 1) * pow(D * y * y + 1, -1, P))


def even(x: int | None) -> int:
    assert x is not None
    return -x % P if x & 1 else x


def encode(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


BASE: Point = (even(x_of(4 * pow(5, -1, P) % P)), 4 * pow(5, -1, P) % P)


def torsion() -> list[Point]:
    """The eight points of small order: the multiples of L P, where P is one of order 8 L."""
    for y in range(2, 100):
        x = x_of(y)
        if x is not None:
            point = times(L, (x, y))
            if times(4, point) != NEUTRAL:
                return [times(i, point) for i in range(8)]
    raise AssertionError


def challenge(r: bytes, key: bytes, message: bytes) -> int:
    return int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % L


# --- Signatures ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Signed:
    key: bytes
    message: bytes
    signature: bytes

    def record(self) -> bytes:
        head = struct.pack("<I", len(self.message))
        return head + self.signature + self.key + self.message


Verify: TypeAlias = Callable[[Iterable[Signed]], list[bool]]


@pytest.fixture(scope="module", params=LIMB_BITS)
def verify(request: pytest.FixtureRequest, build_c: BuildC) -> Verify:
    """The firmware's answers."""
    bits = request.param
    more = (f"-I{APP}", f"-DED25519_LIMB_BITS={bits}")
    program = build_c(f"ed25519_{bits}", HERE / "ed25519.c", *SOURCES, more=more)

    def run(cases: Iterable[Signed]) -> list[bool]:
        data = b"".join(case.record() for case in cases)
        done = subprocess.run([program], input=data, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        return [answer == ord("1") for answer in done.stdout]

    return run


def judge(case: Signed) -> bool:
    """libsodium's answer."""
    try:
        VerifyKey(case.key).verify(case.message, case.signature)
    except BadSignatureError:
        return False
    return True


def random_signed(count: int, rng: Random) -> Signed:
    signing_key = SigningKey(rng.randbytes(32))
    message = rng.randbytes(count)
    key = signing_key.verify_key.encode()
    return Signed(key, message, signing_key.sign(message).signature)


def flipped(data: bytes) -> list[bytes]:
    """With every single bit flipped."""
    return [
        data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
        for at in range(len(data))
        for bit in range(8)
    ]


def test_vectors_of_the_rfc(verify: Verify) -> None:
    cases = [
        Signed(*(bytes.fromhex(vector[name]) for name in ("key", "message", "signature")))
        for vector in VECTORS
    ]
    assert len(cases) == 5
    assert verify(cases) == [True] * len(cases)


def test_random_signatures_of_any_length(verify: Verify) -> None:
    rng = Random(1)
    cases = [random_signed(count, rng) for count in COUNTS]
    assert all(map(judge, cases))
    assert verify(cases) == [True] * len(cases)


def test_libsodium_agrees_on_what_is_random(verify: Verify) -> None:
    """Keys, R and S without any signer; half of the keys and R are no points at all."""
    rng = Random(2)
    cases = [
        Signed(
            rng.randbytes(32),
            rng.randbytes(rng.randrange(64)),
            rng.randbytes(32) + rng.randrange(L).to_bytes(32, "little"),
        )
        for _ in range(100)
    ]
    for case in [random_signed(20, rng) for _ in range(100)]:
        other = rng.randbytes(32)
        cases.append(Signed(other, case.message, case.signature))
        cases.append(Signed(case.key, other, case.signature))
    answers = verify(cases)
    assert answers == [judge(case) for case in cases]
    assert not any(answers)


def test_every_flipped_bit_is_refused(verify: Verify) -> None:
    good = random_signed(48, Random(3))
    cases = [Signed(good.key, good.message, bad) for bad in flipped(good.signature)]
    cases += [Signed(bad, good.message, good.signature) for bad in flipped(good.key)]
    cases += [Signed(good.key, bad, good.signature) for bad in flipped(good.message)]
    assert len(cases) == 8 * (64 + 32 + 48)
    assert not any(verify(cases))
    assert verify([good]) == [True]


def test_shorter_and_longer_messages_are_refused(verify: Verify) -> None:
    good = random_signed(48, Random(4))
    others = [good.message[:-1], good.message[1:], good.message + b"\0", b""]
    assert not any(verify(Signed(good.key, other, good.signature) for other in others))


def test_other_forms_of_s_are_refused(verify: Verify) -> None:
    """S + k L fulfils the equation for every k."""
    cases = []
    rng = Random(5)
    for _ in range(4):
        good = random_signed(10, rng)
        s = int.from_bytes(good.signature[32:], "little")
        for k in range(1, (2**256 - 1 - s) // L + 1):
            other = good.signature[:32] + (s + k * L).to_bytes(32, "little")
            cases.append(Signed(good.key, good.message, other))
    assert len(cases) >= 4 * 14
    assert not any(verify(cases))
    assert not any(map(judge, cases))


def made(secret: int, twist: Point, r: int, r_twist: Point, message: bytes) -> tuple[Signed, int]:
    """A signature by secret B + twist, with R = r B + r_twist; and h modulo 8, by which the points
    of small order decide the equation: it holds if r_twist + h twist is the neutral point."""
    key = encode(add(times(secret, BASE), twist))
    point = encode(add(times(r, BASE), r_twist))
    h = challenge(point, key, message)
    s = (r + h * secret) % L
    return Signed(key, message, point + s.to_bytes(32, "little")), h % 8


def fulfilled(secret: int, twist: Point, r: int, r_twist: Point) -> Signed:
    """As ``made``, with the first message for which the equation holds."""
    for number in range(1000):
        case, h = made(secret, twist, r, r_twist, struct.pack("<I", number))
        if add(r_twist, times(h, twist)) == NEUTRAL:
            return case
    raise AssertionError


def test_keys_of_small_order_are_refused(verify: Verify) -> None:
    """Without a secret, R = S B is a signature by each of them, if the message is chosen."""
    points = torsion()
    assert len(set(points)) == 8
    cases = [fulfilled(0, point, 1234567 + i, NEUTRAL) for i, point in enumerate(points)]
    assert verify(cases) == [False] * 8
    assert [judge(case) for case in cases] == [False] * 8


def test_r_of_small_order_is_refused(verify: Verify) -> None:
    points = torsion()
    cases = [fulfilled(99, points[-h % 8 if h else 0], 0, points[h]) for h in range(8)]
    cases.append(fulfilled(99, NEUTRAL, 0, NEUTRAL))
    assert not any(verify(cases))
    assert not any(map(judge, cases))


def test_points_of_large_order_decide_by_the_equation(verify: Verify) -> None:
    """Keys that have a part of small order: the equation without the cofactor, to the letter."""
    points = torsion()
    cases, expected = [], []
    for i, twist in enumerate(points):
        for number in range(10):
            case, h = made(1000 + i, twist, 2000 + number, points[number % 8], bytes([number]))
            cases.append(case)
            # R' = S B - h A = r B - (h modulo 8) twist, and R = r B + r_twist
            expected.append(minus(times(h, twist)) == points[number % 8])
    assert 0 < sum(expected) < len(expected)
    assert verify(cases) == expected


def test_encodings_that_are_not_canonical_are_refused(verify: Verify) -> None:
    """A y of p or more; and the sign of an x that is 0. Those of (0, 1) among them are keys for
    which any S and R = S B fulfil the equation."""
    cases = []
    for y in range(19):
        for sign in (0, 1):
            key = (P + y | sign << 255).to_bytes(32, "little")
            r = encode(times(77, BASE))
            cases.append(Signed(key, b"", r + (77).to_bytes(32, "little")))
    for y in (1, P - 1):
        for sign in (0, 1):
            key = (y | sign << 255).to_bytes(32, "little")
            cases.append(Signed(key, b"", encode(times(77, BASE)) + (77).to_bytes(32, "little")))
    # The same as R, of a good key: S = h a and R = (0, 1).
    secret = 4711
    key = encode(times(secret, BASE))
    for r in (1, P + 1, 1 | 1 << 255, P + 1 | 1 << 255):
        point = r.to_bytes(32, "little")
        s = challenge(point, key, b"") * secret % L
        cases.append(Signed(key, b"", point + s.to_bytes(32, "little")))
    assert not any(verify(cases))
    assert not any(map(judge, cases))


# --- Arithmetic ---------------------------------------------------------------------------------

EDGES = sorted(
    {
        (base + delta) % 2**256
        for base in (0, P, 2 * P, 2**255, 2**256, L, 2**252, *(2 ** (16 * i) for i in range(16)))
        for delta in (-40, -39, -38, -37, -20, -19, -18, -2, -1, 0, 1, 2, 18, 19, 20, 37, 38, 39)
    }
)
ALMOST_REDUCED = 2**255 + 2**12


@pytest.fixture(scope="module", params=LIMB_BITS)
def numbers(
    request: pytest.FixtureRequest, build_c: BuildC
) -> Callable[[str, list[int]], list[int]]:
    """Results of one operation on numbers of 512 bits: the first operand and 2^256 times the
    second."""
    bits = request.param
    more = (f"-I{APP}", f"-DED25519_LIMB_BITS={bits}")
    source = HERE / "ed25519_numbers.c"
    program = build_c(f"ed25519_numbers_{bits}", source, APP / "sha512.c", more=more)

    def run(operation: str, operands: list[int]) -> list[int]:
        data = b"".join(operation.encode() + n.to_bytes(64, "little") for n in operands)
        done = subprocess.run([program], input=data, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        out = done.stdout
        return [int.from_bytes(out[i : i + 32], "little") for i in range(0, len(out), 32)]

    return run


Numbers: TypeAlias = Callable[[str, list[int]], list[int]]


def pairs() -> list[tuple[int, int]]:
    rng = Random(6)
    return [(a, b) for a in EDGES for b in rng.sample(EDGES, 40)] + [
        (rng.getrandbits(256), rng.getrandbits(256)) for _ in range(1000)
    ]


@pytest.mark.parametrize(
    ("operation", "function"),
    [("+", int.__add__), ("-", int.__sub__), ("*", int.__mul__)],
    ids=["add", "subtract", "multiply"],
)
def test_results_are_right_and_almost_reduced(
    numbers: Numbers, operation: str, function: Callable[[int, int], int]
) -> None:
    operands = pairs()
    results = numbers(operation, [a | b << 256 for a, b in operands])
    for (a, b), result in zip(operands, results, strict=True):
        assert result % P == function(a, b) % P, (hex(a), hex(b))
        assert result < ALMOST_REDUCED, (hex(a), hex(b))


def test_residues_are_the_smallest(numbers: Numbers) -> None:
    operands = [a for a in EDGES if a < ALMOST_REDUCED]
    operands += [ALMOST_REDUCED - 1, *range(P - 3, P + 3), *range(2**255 - 3, 2**255 + 3)]
    assert numbers("r", operands) == [a % P for a in operands]
    assert numbers("0", operands) == [int(a % P == 0) for a in operands]


def test_powers(numbers: Numbers) -> None:
    operands = EDGES[:: len(EDGES) // 40]
    results = numbers("p", operands)
    assert [r % P for r in results] == [pow(a, 2**252 - 3, P) for a in operands]


def test_residues_modulo_the_order(numbers: Numbers) -> None:
    rng = Random(7)
    operands = [0, 1, 2**512 - 1, *(rng.getrandbits(512) for _ in range(200))]
    most = 2**512 // L
    for k in (1, 2, 3, most - 1, most, *(rng.randrange(most) for _ in range(100))):
        operands += [k * L - 1, k * L, k * L + 1]
    assert numbers("L", operands) == [a % L for a in operands]
    operands = EDGES
    assert numbers("s", operands) == [a - L if a >= L else a for a in operands]


def decoded_minus(code: int) -> int:
    """The x of minus the point by RFC 8032, section 5.1.3; all bits set if there is none."""
    y, sign = code % 2**255, code >> 255
    x = x_of(y) if y < P else None
    if x is None or (x == 0 and sign):
        return 2**256 - 1
    return -x % P if x & 1 == sign else x


def test_points_are_decoded_as_the_rfc_says(numbers: Numbers) -> None:
    """Among them all encodings that are not canonical, with either sign."""
    rng = Random(10)
    ys = [*range(40), *range(P - 20, 2**255), *(point[1] for point in torsion())]
    ys += [rng.getrandbits(255) for _ in range(60)]
    codes = [y | sign << 255 for y in ys for sign in (0, 1)]
    expected = [decoded_minus(code) for code in codes]
    assert 60 < expected.count(2**256 - 1) < len(codes) - 60
    assert numbers("d", codes) == expected


# --- The hash -----------------------------------------------------------------------------------


def test_hashes_are_those_of_the_standard(build_c: BuildC) -> None:
    program = build_c("sha512", HERE / "sha512.c", APP / "sha512.c", more=(f"-I{APP}",))
    data = Random(8).randbytes(70000)
    for first, last, piece in ((0, 300, 1000), (0, 300, 1), (4090, 4100, 77), (65537, 65537, 4096)):
        command = [program, str(first), str(piece)]
        done = subprocess.run(command, input=data[:last], capture_output=True, check=True)
        expected = [hashlib.sha512(data[:n]).hexdigest() for n in range(first, last + 1)]
        assert done.stdout.decode().split() == expected


# --- On a microcontroller -----------------------------------------------------------------------

CORES = ("cortex-m0", "cortex-m4")
FLAGS = (
    *("-mthumb", "-std=c99", "-Os", "-ffreestanding", "-ffunction-sections", "-fdata-sections"),
    *("-fno-tree-loop-distribute-patterns", "-Wall", "-Wextra", "-Wconversion", "-Werror"),
    *("-Wmissing-prototypes", "-Wshadow", f"-I{APP}"),
)
MOST_FLASH, MOST_STACK, MOST_SCRATCH = 4096, 400, 768
# Millions, for a message of 48 bytes.
MOST_INSTRUCTIONS = {"cortex-m0": 23, "cortex-m4": 6}


def arm(tool: str, *arguments: str | Path) -> str:
    command = [f"arm-none-eabi-{tool}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=CORES)
def core(request: pytest.FixtureRequest) -> str:
    need("arm-none-eabi-gcc")
    return str(request.param)


def deepest(function: str, calls: set[tuple[str, str]], frames: dict[str, int]) -> int:
    below = [deepest(callee, calls, frames) for caller, callee in calls if caller == function]
    return frames.get(function, 0) + max(below, default=0)


def test_flash_and_stack(core: str, tmp_path: Path) -> None:
    """Of its own code; memcpy and the like, and the compiler's arithmetic, are the firmware's."""
    frames: dict[str, int] = {}
    calls: set[tuple[str, str]] = set()
    flash = 0
    for source in SOURCES:
        target = tmp_path / f"{source.stem}.o"
        arm("gcc", f"-mcpu={core}", *FLAGS, "-fcallgraph-info=su", "-c", source, "-o", target)
        text, data, bss = map(int, arm("size", target).splitlines()[1].split()[:3])
        assert (data, bss) == (0, 0)
        flash += text
        graph = target.with_suffix(".ci").read_text()
        for name, label in re.findall(r'node: \{ title: "(.*?)" label: "(.*?)"', graph):
            for size, kind in re.findall(r"(\d+) bytes \((\w+)\)", label):
                assert kind == "static"
                frames[name] = int(size)
        calls |= set(re.findall(r'sourcename: "(.*?)" targetname: "(.*?)"', graph))
    assert flash <= MOST_FLASH
    assert 0 < deepest("ed25519_verify", calls, frames) <= MOST_STACK
    header = (APP / "ed25519.h").read_text()
    match = re.search(r"#define ED25519_SCRATCH_BYTES (\d+)", header)
    assert match is not None
    assert int(match[1]) <= MOST_SCRATCH  # ed25519.c compares it with the structure


def test_a_verification_in_qemu(
    core: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """ARMv6-M code runs on the Cortex-M4 too, which executes as many instructions."""
    need("qemu-system-arm")
    good = random_signed(48, Random(9))
    values = {"KEY": good.key, "SIGNATURE": good.signature, "MESSAGE": good.message}
    defines = [f"-D{name}={','.join(map(str, data))}" for name, data in values.items()]
    harness = ROOT / "tests" / "c"
    image = tmp_path / "image.elf"
    sources = [HERE / "ed25519_board.c", *SOURCES, harness / "test.c"]
    sources += [harness / "qemu" / "platform.c", ROOT / "firmware" / "libc" / "string.c"]
    link = ["-nostdlib", "-Wl,--gc-sections", "-T", harness / "qemu" / "mps.ld"]
    arm("gcc", f"-mcpu={core}", *FLAGS, *defines, *link, *sources, "-lgcc", "-o", image)
    done = subprocess.run(
        [
            *("qemu-system-arm", "-machine", "mps2-an386", "-nographic", "-monitor", "none"),
            *("-serial", "none", "-icount", "shift=0"),
            *("-semihosting-config", "enable=on,target=native", "-kernel", image),
        ],
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = dict(line.split() for line in (done.stdout + done.stderr).splitlines() if line)
    assert 0 < int(figures["instructions"]) <= MOST_INSTRUCTIONS[core] * 1e6
    assert 0 < int(figures["stack"]) <= MOST_STACK
    record_property(f"verifying a signature, {core}", f"{int(figures['instructions']):,}")
