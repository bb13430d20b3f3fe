# SPDX-License-Identifier: Apache-2.0
"""Signed blob files and their keys: made, read, damaged at every byte."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from conftest import ROOT, BuildC
from models import need
from narrows.blob import parse_blob, read_blob
from narrows.cli import main
from narrows.cli.sign import c_initializer
from narrows.errors import BlobError, NarrowsError, ToolError, UsageError
from narrows.models import load_held_out, prepare_digits
from narrows.signing import (
    MOST_COUNTER,
    TRAILER,
    Signature,
    fingerprint,
    key_pem,
    load_private_key,
    load_public_key,
    new_key,
    public_bytes,
    sign_blob,
    signed_message,
    split_signed,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture(scope="module")
def blob(digits_blob: Path) -> bytes:
    return digits_blob.read_bytes()


@pytest.fixture(scope="module")
def signed(blob: bytes) -> bytes:
    return sign_blob(blob, KEY, 7)


@pytest.fixture
def folder(tmp_path: Path, blob: bytes, signed: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A blob, a signed one, and keys, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.nrw").write_bytes(blob)
    (tmp_path / "s.nrw").write_bytes(signed)
    (tmp_path / "k.pem").write_bytes(key_pem(KEY))
    (tmp_path / "locked.pem").write_bytes(key_pem(KEY, b"open sesame"))
    (tmp_path / "words.txt").write_bytes(b"open sesame\r\n")
    return tmp_path


# --- The format (runtime/SPEC.md, Signed blob files) --------------------------------------------


def test_the_file_is_that_of_the_specification(blob: bytes, signed: bytes) -> None:
    """Written from the page alone."""
    message = b"NRWSIGN1" + struct.pack("<II", len(blob), 7) + hashlib.sha256(blob).digest()
    assert len(message) == 48
    key = KEY.public_key().public_bytes(pem.Encoding.Raw, pem.PublicFormat.Raw)
    trailer = b"NRWS" + struct.pack("<HHI", 1, 0, 7) + key + KEY.sign(message)
    trailer += struct.pack("<I", zlib.crc32(trailer))
    assert len(trailer) == 112
    assert signed == blob + trailer


def test_what_was_signed_comes_back(blob: bytes, signed: bytes) -> None:
    found, signature = split_signed(signed)
    assert found == blob
    assert signature is not None
    assert (signature.counter, signature.key) == (7, public_bytes(KEY))
    assert signature.verifies(blob)
    assert split_signed(blob) == (blob, None)


def test_blobs_are_read_signed_or_not(folder: Path, blob: bytes) -> None:
    plain, found = read_blob("b.nrw"), read_blob("s.nrw")
    assert plain.signature is None
    assert found.signature is not None
    assert found.data == plain.data == blob
    assert found.header == plain.header


@pytest.mark.parametrize("counter", [0, 1, 2**31, MOST_COUNTER])
def test_counters(blob: bytes, counter: int) -> None:
    signature = split_signed(sign_blob(blob, KEY, counter))[1]
    assert signature is not None
    assert signature.counter == counter
    assert signature.verifies(blob)


@pytest.mark.parametrize("counter", [-1, MOST_COUNTER + 1])
def test_counters_out_of_range(blob: bytes, counter: int) -> None:
    with pytest.raises(UsageError, match="give 0 to 4294967295"):
        sign_blob(blob, KEY, counter)


def test_a_signature_is_of_blob_counter_and_key(blob: bytes, signed: bytes) -> None:
    signature = split_signed(signed)[1]
    assert signature is not None
    other = public_bytes(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    changed = blob[:-1] + bytes([blob[-1] ^ 1])
    assert not signature.verifies(changed)
    assert not signature.verifies(blob[:-16])
    assert not Signature(8, signature.key, signature.signature).verifies(blob)
    assert not Signature(7, other, signature.signature).verifies(blob)
    assert not Signature(7, b"\xff" * 32, signature.signature).verifies(blob)
    assert signed_message(blob, 7) != signed_message(blob, 8)


def test_the_firmware_verifies_what_is_signed_here(
    blob: bytes, signed: bytes, build_c: BuildC
) -> None:
    app = ROOT / "firmware" / "app"
    sources = (ROOT / "tests" / "store" / "ed25519.c", app / "ed25519.c", app / "sha512.c")
    program = build_c("ed25519_signed", *sources, more=(f"-I{app}",))
    signature = split_signed(signed)[1]
    assert signature is not None
    messages = [signed_message(blob, counter) for counter in (7, 8)]
    head = struct.pack("<I", len(messages[0])) + signature.signature + signature.key
    data = b"".join(head + message for message in messages)
    done = subprocess.run([program], input=data, capture_output=True, check=True)
    assert done.stdout == b"10"


# --- Hostile bytes ------------------------------------------------------------------------------


def test_every_damaged_byte_of_the_trailer_is_refused(blob: bytes, signed: bytes) -> None:
    for at in range(len(blob), len(signed)):
        for change in (1, 0x80, 0xFF):
            damaged = bytearray(signed)
            damaged[at] ^= change
            with pytest.raises(BlobError, match="copy it again or sign it anew") as refusal:
                parse_blob(bytes(damaged), "b.nrw")
            assert str(refusal.value).startswith("b.nrw: ")
            assert refusal.value.offset == len(blob)


def test_every_length_of_the_trailer_but_its_own_is_refused(blob: bytes, signed: bytes) -> None:
    for size in range(1, TRAILER.size):
        with pytest.raises(BlobError, match=r"cut short.*\(byte") as refusal:
            parse_blob(signed[: len(blob) + size])
        assert refusal.value.offset == len(blob) + size
    for more in (b"\0", b"\xff" * 4096, signed[len(blob) :]):
        with pytest.raises(BlobError, match="copy it again or sign it anew"):
            parse_blob(signed + more)
    assert parse_blob(signed[: len(blob)]).signature is None


def with_right_checksum(trailer: bytes) -> bytes:
    return trailer + struct.pack("<I", zlib.crc32(trailer))


@pytest.mark.parametrize(
    ("at", "value", "offset", "message"),
    [
        (4, 2, 4, "its signature has version 2, not 1"),
        (5, 1, 4, "its signature has version 257, not 1"),
        (6, 1, 6, "a reserved field that is not 0"),
        (7, 0x80, 6, "a reserved field that is not 0"),
        (0, 0x4F, 0, "what stands behind the blob is no signature"),
    ],
)
def test_fields_are_checked_behind_a_right_checksum(
    blob: bytes, signed: bytes, at: int, value: int, offset: int, message: str
) -> None:
    trailer = bytearray(signed[len(blob) : -4])
    trailer[at] = value
    with pytest.raises(BlobError, match=message) as refusal:
        split_signed(blob + with_right_checksum(bytes(trailer)))
    assert refusal.value.offset == len(blob) + offset


def test_bytes_behind_a_signature_are_refused(blob: bytes, signed: bytes) -> None:
    longer = with_right_checksum(signed[len(blob) : -4] + bytes(16))
    with pytest.raises(BlobError, match="bytes behind it"):
        split_signed(blob + longer)


@pytest.mark.parametrize("more", [b"\0", b"NRWB" + bytes(200), b"\xff" * 112])
def test_what_is_no_signature_is_refused(blob: bytes, more: bytes) -> None:
    with pytest.raises(BlobError, match="no signature; copy it again"):
        parse_blob(blob + more)


def test_a_damaged_blob_is_refused_as_without_a_signature(blob: bytes, signed: bytes) -> None:
    """In its header, where its length stands, and behind."""
    for at in (0, 5, 8, 9, 20, 75, 79, 100, len(blob) - 1):
        refusals = []
        for data in (blob, signed):
            damaged = bytearray(data)
            damaged[at] ^= 0x10
            with pytest.raises(BlobError) as refusal:
                parse_blob(bytes(damaged))
            refusals.append(str(refusal.value))
        assert refusals[0] == refusals[1]


def test_what_is_no_blob_comes_back(signed: bytes) -> None:
    for data in (b"", b"N", b"NRWB", bytes(79), bytes(200), signed[:79], signed[:500]):
        assert split_signed(data) == (data, None)


# --- Commands -----------------------------------------------------------------------------------


def test_sign_and_info(folder: Path, signed: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sign", "b.nrw", "--key", "k.pem", "--counter", "7", "-o", "new.nrw"]
    assert main([*command, "--json", "r.json"]) == 0
    assert (folder / "new.nrw").read_bytes() == signed
    name = fingerprint(public_bytes(KEY))
    out = capsys.readouterr().out
    assert out == f"new.nrw: {len(signed):,} B, counter 7, signed by key {name}\n"
    report = json.loads((folder / "r.json").read_text())
    assert report == {
        "blob_bytes": len(signed) - 112,
        "file_bytes": len(signed),
        "counter": 7,
        "public_key": public_bytes(KEY).hex(),
        "fingerprint": name,
    }
    assert main(["info", "new.nrw", "--json", "i.json"]) == 0
    assert f"signed by key {name}, counter 7: the signature is good\n" in capsys.readouterr().out
    signature = json.loads((folder / "i.json").read_text())["signature"]
    assert signature["verifies"] is True
    assert (signature["counter"], signature["fingerprint"]) == (7, name)
    assert main(["info", "b.nrw", "--json", "i.json"]) == 0
    assert "signed" not in capsys.readouterr().out
    assert json.loads((folder / "i.json").read_text())["signature"] is None


def test_info_says_that_a_signature_is_another_blobs(
    folder: Path, blob: bytes, signed: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    signature = split_signed(signed)[1]
    assert signature is not None
    forged = Signature(8, signature.key, signature.signature)
    (folder / "f.nrw").write_bytes(blob + forged.pack())
    assert main(["info", "f.nrw", "--json", "i.json"]) == 0
    assert "counter 8: the signature is NOT that of this blob" in capsys.readouterr().out
    assert json.loads((folder / "i.json").read_text())["signature"]["verifies"] is False


def test_signed_files_are_signed_anew(folder: Path, blob: bytes) -> None:
    (folder / "k2.pem").write_bytes(key_pem(new_key()))
    assert main(["sign", "s.nrw", "--key", "k2.pem", "-o", "new.nrw"]) == 0
    found, signature = split_signed((folder / "new.nrw").read_bytes())
    assert found == blob
    assert signature is not None
    assert signature.counter == 0
    assert signature.key == load_public_key("k2.pem")
    assert signature.verifies(blob)


def test_other_commands_take_signed_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = prepare_digits(load_held_out().images)[:3]
    np.save("x.npy", inputs[0])
    np.savez("d.npz", x=inputs)
    digests = []
    for name in ("b.nrw", "s.nrw"):
        assert main(["run", name, "--input", "x.npy", "--json", "r.json"]) == 0
        digests.append(json.loads((folder / "r.json").read_text())["output_sha256"])
        assert main(["check", name, "--data", "d.npz"]) == 0
    assert digests[0] == digests[1]
    assert main(["compare", "b.nrw", "s.nrw", "--data", "d.npz"]) == 0
    capsys.readouterr()
    data = bytearray((folder / "s.nrw").read_bytes())
    data[-1] ^= 1
    (folder / "s.nrw").write_bytes(data)
    for command in (
        ["run", "s.nrw", "--input", "x.npy"],
        ["check", "s.nrw", "--data", "d.npz"],
        ["compare", "b.nrw", "s.nrw", "--data", "d.npz"],
        ["info", "s.nrw"],
        ["sign", "s.nrw", "--key", "k.pem", "-o", "new.nrw"],
    ):
        assert main(command) == 1
        error = capsys.readouterr().err
        assert error.startswith("narrows: error: s.nrw: its signature is damaged")
        assert error.count("\n") == 1
    assert not Path("new.nrw").exists()


def test_what_is_no_blob_is_not_signed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "x.nrw").write_bytes(b"hello" * 100)
    assert main(["sign", "x.nrw", "--key", "k.pem", "-o", "new.nrw"]) == 1
    assert "x.nrw: is not a narrows blob" in capsys.readouterr().err
    assert main(["sign", "none.nrw", "--key", "k.pem", "-o", "new.nrw"]) == 1
    assert "none.nrw: cannot read the blob" in capsys.readouterr().err
    assert not (folder / "new.nrw").exists()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "give a BLOB to sign, --new-key or --public"),
        ("b.nrw --public k.pem", "not BLOB and --public"),
        ("b.nrw --new-key n.pem", "not BLOB and --new-key"),
        ("b.nrw -o new.nrw", "--key is needed to sign b.nrw"),
        ("b.nrw --key k.pem", "--output is needed to sign b.nrw"),
        ("--public k.pem --key k.pem", "--key goes with a BLOB to sign, not with --public"),
        ("--new-key n.pem --counter 0", "--counter goes with a BLOB to sign, not with --new-key"),
        ("--new-key n.pem -o new.nrw", "--output goes with a BLOB to sign"),
        ("b.nrw --key k.pem -o new.nrw --counter -1", "counter -1: give 0 to 4294967295"),
        ("b.nrw --key k.pem -o new.nrw --counter 4294967296", "give 0 to 4294967295"),
        ("b.nrw --key k.pem -o b.nrw", "would overwrite b.nrw"),
        ("b.nrw --key k.pem -o k.pem", "would overwrite k.pem, which --key reads"),
        ("--new-key k.pem", "--new-key k.pem: exists, and no key is overwritten"),
        ("--new-key words.txt --passphrase-file words.txt", "would overwrite words.txt"),
        ("--new-key n.pem --passphrase-file empty.txt", "its first line is empty"),
        ("--new-key n.pem --passphrase-file blank.txt", "its first line is empty"),
    ],
)
def test_wrong_usage(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str, message: str
) -> None:
    (folder / "empty.txt").write_bytes(b"")
    (folder / "blank.txt").write_bytes(b"\nx\n")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(["sign", *command.split()]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("narrows: error: ")
    assert error.count("\n") == 1
    assert message in error
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


# --- Keys ---------------------------------------------------------------------------------------


def test_a_new_key_is_secret_and_signs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sign", "--new-key", "n.pem", "--json", "r.json"]) == 0
    assert stat.S_IMODE(os.stat("n.pem").st_mode) == 0o600
    public = load_public_key("n.pem")
    report = json.loads((folder / "r.json").read_text())
    assert report == {"public_key": public.hex(), "fingerprint": fingerprint(public)}
    assert capsys.readouterr().out == f"n.pem: key {fingerprint(public)}; keep it secret\n"
    assert main(["sign", "b.nrw", "--key", "n.pem", "-o", "new.nrw"]) == 0
    signature = read_blob("new.nrw").signature
    assert signature is not None
    assert signature.key == public
    before = (folder / "n.pem").read_bytes()
    os.symlink("n.pem", "link")
    os.symlink("nowhere", "dangling")
    for place in ("n.pem", "./n.pem", "link", "dangling"):
        assert main(["sign", "--new-key", place]) == 2
    assert (folder / "n.pem").read_bytes() == before
    assert not (folder / "nowhere").exists()


def test_a_new_key_on_stdout_is_alone_there(
    folder: Path,
) -> None:
    code = "import sys; from narrows.cli import main; sys.exit(main(['sign', '--new-key', '-']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == 0
    (folder / "n.pem").write_bytes(done.stdout)
    assert fingerprint(load_public_key("n.pem")) in done.stderr.decode()


def test_encrypted_keys(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--passphrase-file", "words.txt"]
    sign = ["sign", "b.nrw", "--key", "locked.pem", "-o", "new.nrw"]
    assert main(sign) == 1
    assert "locked.pem: the key is encrypted; give its passphrase with --passphrase-file" in (
        capsys.readouterr().err
    )
    assert main([*sign, *words]) == 0
    assert load_public_key("locked.pem", b"open sesame") == public_bytes(KEY)
    assert main(["sign", "--new-key", "n.pem", *words]) == 0
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in (folder / "n.pem").read_bytes()
    assert main(["sign", "--public", "n.pem", *words]) == 0
    capsys.readouterr()
    (folder / "words.txt").write_text("abracadabra")
    assert main([*sign, *words]) == 1
    assert "locked.pem: the passphrase does not open the key" in capsys.readouterr().err
    assert main(["sign", "--public", "k.pem", *words]) == 1
    assert "k.pem: the key is not encrypted; leave out" in capsys.readouterr().err
    assert main([*sign, "--passphrase-file", "none.txt"]) == 1
    assert "none.txt: cannot read the passphrase" in capsys.readouterr().err


def test_the_public_key_in_hex_and_for_c(
    folder: Path, capsys: pytest.CaptureFixture[str], build_c: BuildC
) -> None:
    key = public_bytes(KEY)
    public_pem = KEY.public_key().public_bytes(
        pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo
    )
    (folder / "p.pem").write_bytes(public_pem)
    for name in ("k.pem", "p.pem"):
        assert main(["sign", "--public", name, "--json", "r.json"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == key.hex()
        assert "\n".join(lines[1:5]) == c_initializer(key)
        assert lines[5:] == [f"fingerprint {fingerprint(key)}"]
        report = json.loads((folder / "r.json").read_text())
        assert report == {"public_key": key.hex(), "fingerprint": fingerprint(key)}
    source = folder / "key.c"
    source.write_text(
        "#include <stdio.h>\n"
        f"static const unsigned char key[32] = {c_initializer(key)};\n"
        'int main(void) { for (int i = 0; i < 32; i++) printf("%02x", key[i]); return 0; }\n'
    )
    done = subprocess.run([build_c("key", source)], capture_output=True, text=True, check=True)
    assert done.stdout == key.hex()


def _private(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption())


def test_other_keys_are_refused(folder: Path) -> None:
    curve, rsa_key = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)
    (folder / "ec.pem").write_bytes(_private(curve))
    (folder / "rsa.pem").write_bytes(_private(rsa_key))
    (folder / "ec_public.pem").write_bytes(
        curve.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    )
    (folder / "public.pem").write_bytes(
        KEY.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    )
    for name in ("ec.pem", "rsa.pem"):
        for load in (load_private_key, load_public_key):
            with pytest.raises(NarrowsError, match=rf"{name}: a key of kind .*, not Ed25519"):
                load(name)
    with pytest.raises(NarrowsError, match=r"ec_public.pem: a key of kind .*, not Ed25519"):
        load_public_key("ec_public.pem")
    with pytest.raises(NarrowsError, match=r"public.pem: a public key, which only verifies"):
        load_private_key("public.pem")


def test_files_that_are_no_keys(folder: Path) -> None:
    whole = (folder / "k.pem").read_bytes()
    public = b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
    for data in (b"", b"hello", bytes(1000), whole[:40], whole[:80] + whole[90:], public):
        (folder / "x.pem").write_bytes(data)
        with pytest.raises(NarrowsError, match=r"x.pem: no key in a PEM file"):
            load_public_key("x.pem")
    for place in ("none.pem", "."):
        for load in (load_private_key, load_public_key):
            with pytest.raises(NarrowsError, match="cannot read the key"):
                load(place)


def test_keys_of_openssl(folder: Path) -> None:
    need("openssl")
    command = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", "o.pem"]
    subprocess.run(command, check=True, capture_output=True)
    encrypt = ["openssl", "pkcs8", "-topk8", "-in", "o.pem", "-passout", "pass:open sesame"]
    subprocess.run([*encrypt, "-out", "oe.pem"], check=True, capture_output=True)
    public = ["openssl", "pkey", "-in", "o.pem", "-pubout", "-out", "op.pem"]
    subprocess.run(public, check=True, capture_output=True)
    key = load_public_key("o.pem")
    assert load_public_key("oe.pem", b"open sesame") == load_public_key("op.pem") == key
    assert main(["sign", "b.nrw", "--key", "o.pem", "-o", "new.nrw"]) == 0
    signature = read_blob("new.nrw").signature
    assert signature is not None
    assert signature.key == key
    # And OpenSSL verifies what is signed here.
    Path("message").write_bytes(signed_message(Path("b.nrw").read_bytes(), 0))
    Path("signature").write_bytes(signature.signature)
    verify = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "op.pem", "-rawin"]
    verify += ["-in", "message", "-sigfile", "signature"]
    assert subprocess.run(verify, capture_output=True).returncode == 0


def test_without_the_package(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A signed file is read without it, and signatures say what to install."""
    for name in [name for name in sys.modules if name.split(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for command in (
        ["sign", "b.nrw", "--key", "k.pem", "-o", "new.nrw"],
        ["sign", "--public", "k.pem"],
        ["sign", "--new-key", "n.pem"],
    ):
        assert main(command) == 1
        assert "pip install 'narrows[sign]'" in capsys.readouterr().err
    with pytest.raises(ToolError):
        new_key()
    assert main(["info", "s.nrw", "--json", "i.json"]) == 0
    out = capsys.readouterr().out
    assert "counter 7: not verified: signatures need the package cryptography" in out
    assert json.loads(Path("i.json").read_text())["signature"]["verifies"] is None
    assert not Path("n.pem").exists()


def test_a_key_that_cannot_be_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place, message in (("none/n.pem", "there is no folder"), (".", "it is a folder")):
        assert main(["sign", "--new-key", place]) == 1
        assert message in capsys.readouterr().err
    shutil.copy("k.pem", "mine.pem")
    os.chmod("mine.pem", 0o644)
    assert main(["sign", "--new-key", "mine.pem"]) == 2
    assert Path("mine.pem").read_bytes() == Path("k.pem").read_bytes()
