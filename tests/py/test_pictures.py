# SPDX-License-Identifier: Apache-2.0
"""Pictures of every mode, size and state -> pixels of 8 bits, or one clear line."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from conftest import Narrows
from narrows.blob import parse_blob
from narrows.compiler import CompileOptions, compile_model
from narrows.data import PICTURES, load_dataset, load_input
from narrows.errors import FrameWarning, InputError, NarrowsWarning, RotationWarning
from narrows.graph.edges import Array, HostEdge
from narrows.graph.preprocessing import Preprocessing
from narrows.models import DIGITS_INT8

GREY = HostEdge("in", "float32", (1, 2, 3, 1), 0.0, 0, 1.0, 0)
RGB = replace(GREY, shape=(1, 2, 3, 3))
AS_THEY_ARE = Preprocessing((0.0,), (1.0,), exif_rotation="ignore")

LEVELS = np.array([[0, 1, 64], [128, 200, 255]], np.uint8)
COLOURS = np.random.default_rng(1).integers(0, 256, (2, 3, 3), np.uint8)


def pixels(path: Path, edge: HostEdge, rule: Preprocessing = AS_THEY_ARE) -> Array:
    """[height, width, channels], without any warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", NarrowsWarning)
        return load_input(edge, rule, path)[0]


def both(path: Path, grey: Array, tolerance: float = 0) -> None:
    """A grey picture gives its levels, whether the network takes 1 or 3 channels."""
    np.testing.assert_allclose(pixels(path, GREY)[:, :, 0], grey, atol=tolerance)
    colour = pixels(path, RGB)
    for channel in range(3):
        np.testing.assert_allclose(colour[:, :, channel], grey, atol=tolerance)


# --- Depths ---------------------------------------------------------------------------------------


SIXTEEN = LEVELS.astype(np.uint16) * 256 + np.array([[0, 255, 7], [0, 99, 255]], np.uint16)


@pytest.mark.parametrize("name", ["p.png", "p.tif", "p.jp2", "p.pgm"])
def test_of_16_bits_the_high_byte_counts(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Image.fromarray(SIXTEEN).save(path)
    both(path, LEVELS)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L", "I;16N"])
def test_every_mode_of_16_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """Pillow writes only two of them; each of the four can come from a plug-in."""
    order = ">u2" if mode.endswith("B") else "<u2"
    data = SIXTEEN.astype(order).tobytes()

    def opened(path: Path) -> Image.Image:
        image = Image.frombytes(mode, (3, 2), data)
        image.format = "TIFF"
        return image

    monkeypatch.setattr(Image, "open", opened)
    both(tmp_path / "p.tif", LEVELS)


def test_a_tiff_with_big_endian_samples(tmp_path: Path) -> None:
    path = tmp_path / "p.tif"
    Image.frombytes("I;16B", (3, 2), SIXTEEN.astype(">u2").tobytes()).save(path)
    assert Image.open(path).mode == "I;16B"
    both(path, LEVELS)


def _tiff(samples: Array, bits: int, photometric: int, sample_format: int = 1) -> bytes:
    """A little-endian grey TIFF file with one strip."""
    height, width = samples.shape
    if bits == 12:
        flat = samples.ravel().astype(int)
        packed = b"".join(
            bytes((a >> 4, (a & 15) << 4 | b >> 8, b & 255))
            for a, b in zip(flat[::2], flat[1::2], strict=True)
        )
    else:
        packed = samples.tobytes()
    entries = [
        *((256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8)),
        *((277, 1), (278, height), (279, len(packed)), (339, sample_format)),
    ]
    table = struct.pack("<H", len(entries))
    for tag, value in entries:
        table += struct.pack("<HHII", tag, 4, 1, value)
    return struct.pack("<2sHI", b"II", 42, 8 + len(packed)) + packed + table + bytes(4)


def test_a_tiff_whose_white_is_0(tmp_path: Path) -> None:
    path = tmp_path / "p.tif"
    path.write_bytes(_tiff(65535 - SIXTEEN, 16, photometric=0))
    both(path, LEVELS)


def test_a_tiff_of_12_bits(tmp_path: Path) -> None:
    path = tmp_path / "p.tif"
    stored = LEVELS.reshape(3, 2)  # an even width, so that a row ends with a byte
    path.write_bytes(_tiff(stored.astype(np.uint16) * 16 + 9, 12, photometric=1))
    assert Image.open(path).mode == "I;16"
    edge = replace(GREY, shape=(1, 3, 2, 1))
    np.testing.assert_array_equal(pixels(path, edge)[:, :, 0], stored)


@pytest.mark.parametrize("most", [1, 100, 255, 1023, 65535])
def test_a_pgm_says_what_white_is(tmp_path: Path, most: int) -> None:
    values = np.round(LEVELS / 255 * most).astype(">u2" if most > 255 else "u1")
    path = tmp_path / "p.pgm"
    path.write_bytes(b"P5 3 2 %d\n" % most + values.tobytes())
    both(path, np.round(values.astype(float) / most * 255), tolerance=1)


def _png(depth: int, colour: int, rows: Array) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = rows.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b""))
    )


def test_colours_of_16_bits(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    wide = COLOURS.astype(np.uint16) * 256 + 77
    path.write_bytes(_png(16, 2, wide))
    np.testing.assert_array_equal(pixels(path, RGB), COLOURS)
    alpha = np.full((2, 3, 1), 1000, np.uint16)
    path.write_bytes(_png(16, 6, np.concatenate([wide, alpha], axis=2)))
    np.testing.assert_array_equal(pixels(path, RGB), COLOURS)
    path.write_bytes(_png(16, 4, np.concatenate([SIXTEEN[:, :, None], alpha], axis=2)))
    both(path, LEVELS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("float.tif", _tiff(np.linspace(0, 1, 6, dtype="<f4").reshape(2, 3), 32, 1, 3)),
        ("long.tif", _tiff(np.arange(6, dtype="<i4").reshape(2, 3) << 20, 32, 1, 2)),
        ("signed.tif", _tiff(np.arange(-3, 3, dtype="<i2").reshape(2, 3), 16, 1, 2)),
        ("p.pfm", b"Pf\n3 2\n-1.0\n" + np.ones(6, "<f4").tobytes()),
    ],
)
def test_pixels_without_a_white_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: its pixels are (floats|integers)") as caught:
        load_input(GREY, AS_THEY_ARE, path)
    assert ".npy" in str(caught.value)
    assert "\n" not in str(caught.value)


# --- Colours and alpha ----------------------------------------------------------------------------


def _palette(alpha: Any = None) -> tuple[Image.Image, dict[str, Any]]:
    image = Image.fromarray(np.array([[0, 1, 2], [3, 4, 5]], np.uint8))
    image = image.convert("L")
    image.putpalette(COLOURS.reshape(-1).tolist())
    return image, {} if alpha is None else {"transparency": alpha}


@pytest.mark.parametrize("alpha", [None, 2, b"\0\x40\xff\x80\0\xff"])
@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_palettes(tmp_path: Path, suffix: str, alpha: Any) -> None:
    if suffix == "gif" and isinstance(alpha, bytes):
        alpha = 3  # one transparent colour is all that a GIF has
    image, options = _palette(alpha)
    path = tmp_path / f"p.{suffix}"
    image.save(path, **options)
    np.testing.assert_array_equal(pixels(path, RGB), COLOURS)
    luminance = COLOURS @ (0.299, 0.587, 0.114)
    np.testing.assert_allclose(pixels(path, GREY)[:, :, 0], luminance, atol=1)


def test_black_and_white(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    levels = np.array([[True, False, True], [False, False, True]])
    Image.fromarray(levels).save(path)
    assert Image.open(path).mode == "1"
    both(path, levels * 255)


def test_alpha_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    alpha = np.array([[0, 3, 255], [128, 0, 9]], np.uint8)[:, :, None]
    Image.fromarray(np.concatenate([COLOURS, alpha], axis=2)).save(path)
    np.testing.assert_array_equal(pixels(path, RGB), COLOURS)
    Image.fromarray(np.concatenate([LEVELS[:, :, None], alpha], axis=2), "LA").save(path)
    both(path, LEVELS)


@pytest.mark.parametrize("mode", ["La", "RGBa", "PA", "RGBX", "YCbCr", "HSV", "CMYK", "LAB"])
def test_modes_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """Some modes come from few formats, or from plug-ins only."""
    alpha = np.full((2, 3, 1), 255, np.uint8)
    straight = Image.fromarray(np.concatenate([COLOURS, alpha], axis=2))
    grey = mode == "La"
    if grey:
        image = Image.fromarray(np.concatenate([LEVELS[:, :, None], alpha], axis=2), "LA").convert(
            "La"
        )
    elif mode == "PA":
        image = _palette()[0].convert("PA")
    elif mode == "RGBX":
        image = Image.frombytes("RGBX", (3, 2), straight.tobytes())
    elif mode == "CMYK":
        image = Image.merge(
            "CMYK",
            [Image.fromarray(255 - COLOURS[:, :, i]) for i in range(3)]
            + [Image.new("L", (3, 2), 0)],
        )
    elif mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        converted = ImageCms.profileToProfile(Image.fromarray(COLOURS), srgb, lab, outputMode="LAB")
        assert converted is not None
        image = converted
    else:
        image = (straight if mode == "RGBa" else straight.convert("RGB")).convert(mode)
    assert image.mode == mode
    monkeypatch.setattr(Image, "open", lambda path: image.copy())
    if grey:
        both(tmp_path / "p.x", LEVELS)
        return
    tolerance = {"YCbCr": 2, "HSV": 3, "LAB": 16}.get(mode, 0)
    np.testing.assert_allclose(pixels(tmp_path / "p.x", RGB), COLOURS, atol=tolerance)
    luminance = COLOURS @ (0.299, 0.587, 0.114)
    np.testing.assert_allclose(
        pixels(tmp_path / "p.x", GREY)[:, :, 0], luminance, atol=1 + tolerance
    )


def test_premultiplied_colours_are_divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = np.full((2, 3, 1), 128, np.uint8)
    image = Image.fromarray(np.concatenate([COLOURS, half], axis=2)).convert("RGBa")
    monkeypatch.setattr(Image, "open", lambda path: image.copy())
    np.testing.assert_allclose(pixels(tmp_path / "p.x", RGB), COLOURS, atol=2)


@pytest.mark.parametrize("name", ["p.jpg", "p.tif"])
def test_cmyk_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    image = Image.new("CMYK", (30, 20), (255, 0, 0, 0))
    image.save(path, **({"quality": 100} if name == "p.jpg" else {}))
    np.testing.assert_allclose(pixels(path, RGB), np.broadcast_to((0, 255, 255), (2, 3, 3)), atol=2)


# --- EXIF -----------------------------------------------------------------------------------------

# Orientation -> the picture as the camera stored it, if this is it upright.
STORED: dict[int, Callable[[Array], Array]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


def _turned(path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    stored = np.ascontiguousarray(STORED[orientation](COLOURS))
    Image.fromarray(stored).save(path, exif=exif)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("name", ["p.png", "p.tif"])
def test_pictures_are_turned_upright(tmp_path: Path, name: str, orientation: int) -> None:
    path = tmp_path / name
    _turned(path, orientation)
    upright = replace(AS_THEY_ARE, exif_rotation="apply")
    np.testing.assert_array_equal(pixels(path, RGB, upright), COLOURS)


@pytest.mark.parametrize("name", ["p.jpg", "p.webp"])
def test_photos_are_turned_before_they_are_cropped(tmp_path: Path, name: str) -> None:
    """A photo of 60 x 20 that is stored as 20 x 60: dark above, bright below."""
    upright = np.zeros((20, 60), np.uint8)
    upright[10:] = 255
    exif = Image.Exif()
    exif[274] = 6
    path = tmp_path / name
    stored = np.ascontiguousarray(np.rot90(upright))
    Image.fromarray(stored).convert("RGB").save(path, exif=exif, quality=95)
    edge = replace(GREY, shape=(1, 2, 6, 1))
    rule = Preprocessing((0.0,), (1.0,), "crop", exif_rotation="apply")
    values = pixels(path, edge, rule)[:, :, 0]
    assert values.shape == (2, 6)
    assert values[0].max() < 60
    assert values[1].min() > 195


def test_an_ignored_orientation_is_said(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    _turned(path, 3)
    for rule in (None, Preprocessing((0.0,), (1.0,))):
        with pytest.warns(RotationWarning, match=r"p\.png: its EXIF orientation \(3\)") as seen:
            values = load_input(RGB, rule, path)[0]
        assert len(seen) == 1
        np.testing.assert_array_equal(values, COLOURS[::-1, ::-1])
    np.testing.assert_array_equal(pixels(path, RGB), COLOURS[::-1, ::-1])


def test_exif_that_is_damaged_hides_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    for exif in (b"Exif\0\0rubbish", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b""):
        Image.fromarray(COLOURS).save(path, exif=exif)
        np.testing.assert_array_equal(
            pixels(path, RGB, replace(AS_THEY_ARE, exif_rotation="apply")), COLOURS
        )


def test_the_rotation_is_stored_with_the_model() -> None:
    rule = {"mean": 0, "scale": 1, "exif_rotation": "apply"}
    options = CompileOptions(metadata={"preprocessing": rule})
    blob = parse_blob(compile_model(DIGITS_INT8, options).blob)
    assert blob.preprocessing is not None
    assert blob.preprocessing.exif_rotation == "apply"


def test_the_command_warns_once_and_can_be_told(narrows: Narrows, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    exif = Image.Exif()
    exif[274] = 6
    pattern = np.zeros((32, 32), np.uint8)
    pattern[:9, 4:7] = 255
    for i in range(3):
        Image.fromarray(pattern).save(data / f"{i}.png", exif=exif)
    Image.fromarray(np.rot90(pattern, -1).copy()).save(tmp_path / "upright.png")
    digests = {}
    for rotation in ((), ("--exif-rotation", "ignore"), ("--exif-rotation", "apply")):
        blob = tmp_path / "b.nrw"
        rules = ("--pixel-mean", "0", "--pixel-scale", "0.00392", *rotation)
        assert narrows("compile", DIGITS_INT8, "-o", blob, *rules).returncode == 0
        done = narrows("check", blob, "--data", data)
        assert done.returncode == 0
        lines = done.stderr.splitlines()
        if rotation:
            assert lines == []
            assert f"EXIF rotation: {rotation[1]}" in narrows("info", blob).stdout
        else:
            (line,) = lines
            assert line.startswith("narrows: warning: ")
            assert "0.png" in line
            assert "--exif-rotation" in line
        for name in ("data/0.png", "upright.png"):
            done = narrows("run", blob, "--input", tmp_path / name, "--output", tmp_path / "o.npy")
            assert done.returncode == 0, done.stderr
            digests[rotation[1:], name] = (tmp_path / "o.npy").read_bytes()
    upright = digests[("apply",), "upright.png"]
    assert digests[("apply",), "data/0.png"] == upright
    assert digests[("ignore",), "data/0.png"] == digests[(), "data/0.png"] != upright


# --- Frames, size, damage -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["p.gif", "p.png", "p.tif", "p.webp"])
def test_of_several_frames_the_first_is_taken(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    frames = [Image.new("RGB", (3, 2), (level, 0, 0)) for level in (250, 90, 10)]
    options = {"lossless": True} if name == "p.webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    with pytest.warns(FrameWarning, match=f"{name}: has 3 frames; the first is taken"):
        values = load_input(RGB, AS_THEY_ARE, path)[0]
    np.testing.assert_allclose(values, np.broadcast_to((250, 0, 0), (2, 3, 3)), atol=3)


def test_previews_in_photos_are_no_frames(tmp_path: Path) -> None:
    path = tmp_path / "p.jpg"
    photo = Image.new("RGB", (30, 20), (200, 10, 10))
    photo.save(path, "MPO", save_all=True, append_images=[photo.resize((3, 2))])
    assert Image.open(path).format == "MPO"
    np.testing.assert_allclose(pixels(path, RGB)[0, 0], (200, 10, 10), atol=3)


@pytest.mark.parametrize("suffix", [s for s in PICTURES if s not in (".pbm", ".tiff", ".jpeg")])
def test_truncated_pictures(tmp_path: Path, suffix: str) -> None:
    """Wherever a file ends, it is one line, or nothing of the picture was lost."""
    whole = BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    picture = Image.fromarray(noise)
    if suffix == ".pgm":
        picture = picture.convert("L")
    picture.save(whole, Image.registered_extensions()[suffix])
    data = whole.getvalue()
    path = tmp_path / f"p{suffix}"
    path.write_bytes(data)
    edge = replace(RGB, shape=(1, 20, 30, 3))
    wanted = pixels(path, edge)
    ends = {*range(0, len(data), max(1, len(data) // 60)), *range(len(data) - 20, len(data))}
    refused = 0
    for end in sorted(ends):
        path.write_bytes(data[:end])
        problem = None
        try:
            np.testing.assert_array_equal(pixels(path, edge), wanted)
        except InputError as error:
            problem = str(error)
        if problem is not None:
            assert problem.startswith(f"{path}: not a picture that can be read: ")
            assert "\n" not in problem
            refused += 1
    assert refused > len(ends) // 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.png", b"", "not a picture that can be read"),
        ("p.pgm", b"P5 0 4 255\n", "p.pgm"),
        ("p.gif", b"GIF89a\0\0\0\0\0\0\0;", "p.gif"),
        ("p.pgm", b"P5 30000 30000 255\n", "900000000 pixels"),
    ],
)
def test_pictures_of_no_size_or_too_much(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        pixels(path, GREY)
    assert "\n" not in str(caught.value)


def test_a_large_picture_is_no_bomb(tmp_path: Path) -> None:
    """Pillow warns above 89 million pixels, in its own words and with a line of its source."""
    path = tmp_path / "p.pbm"
    path.write_bytes(b"P4 10000 10000\n" + bytes(10000 * 10000 // 8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pixels(path, GREY).min() == 255


def test_folders_have_every_suffix_that_is_known(tmp_path: Path) -> None:
    for suffix in PICTURES:
        (tmp_path / f"a{suffix.upper()}").write_bytes(b"")
    assert len(load_dataset(tmp_path).items) == len(PICTURES)
