# SPDX-License-Identifier: Apache-2.0
"""``narrows sign``: signed blob files, and the keys that sign them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from narrows.blob import read_blob
from narrows.cli.console import count
from narrows.cli.places import add_input, add_json, add_output, is_stdout
from narrows.errors import UsageError
from narrows.files import read_file
from narrows.signing import (
    Signature,
    fingerprint,
    key_pem,
    load_private_key,
    load_public_key,
    new_key,
    public_bytes,
    sign_blob,
    split_signed,
)

_HELP = """\
for example

  narrows sign --new-key key.pem
  narrows sign model.nrw --key key.pem --counter 7 -o model.signed.nrw
  narrows sign --public key.pem

Keys are Ed25519 in PEM files, as 'imgtool keygen -t ed25519' and 'openssl genpkey -algorithm
ed25519' write them. Whatever takes a blob takes a signed one too."""

# The owner alone reads a private key.
_KEY_MODE = 0o600
_BYTES_A_LINE = 8


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "sign",
        help="sign a blob, make a key, show a public key",
        description="Sign a blob with a private key; or make a key, or show its public key.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_input(parser, "blob", metavar="BLOB", nargs="?", help="signed already: signed anew")
    add_input(parser, "--key", metavar="KEY.pem", help="the private key")
    parser.add_argument(
        "--counter",
        type=int,
        metavar="N",
        help="how new the model is (0): a board refuses what is older than its own",
    )
    add_output(parser, "-o", "--output", metavar="FILE", help="the signed file")
    add_output(parser, "--new-key", metavar="KEY.pem", help="make a key; none is overwritten")
    add_input(parser, "--public", metavar="KEY.pem", help="print the public key, in hex and for C")
    add_input(
        parser,
        "--passphrase-file",
        metavar="FILE",
        help="its first line is the passphrase of the key, or of the new one",
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked for, one of three things."""
    asked = [
        name
        for name, value in (
            ("BLOB", arguments.blob),
            ("--new-key", arguments.new_key),
            ("--public", arguments.public),
        )
        if value is not None
    ]
    if len(asked) != 1:
        both = f", not {' and '.join(asked)}" if asked else ""
        raise UsageError(f"give a BLOB to sign, --new-key or --public{both}")
    signing = {"--key": arguments.key, "--output": arguments.output, "--counter": arguments.counter}
    if arguments.blob is None:
        besides = [name for name, value in signing.items() if value is not None]
        if besides:
            raise UsageError(f"{besides[0]} goes with a BLOB to sign, not with {asked[0]}")
    passphrase = _passphrase(arguments.passphrase_file)
    if arguments.new_key is not None:
        return _make_key(arguments, passphrase)
    if arguments.public is not None:
        return _show_public(arguments, load_public_key(arguments.public, passphrase))
    for name in ("--key", "--output"):
        if signing[name] is None:
            raise UsageError(f"{name} is needed to sign {arguments.blob}")
    return _sign(arguments, passphrase)


def _passphrase(path: str | None) -> bytes | None:
    if path is None:
        return None
    lines = read_file(path, "passphrase").splitlines()
    if not lines or not lines[0]:
        raise UsageError(f"{path}: its first line is empty; it is to be the passphrase")
    return lines[0]


def _sign(arguments: argparse.Namespace, passphrase: bytes | None) -> int:
    blob = read_blob(arguments.blob)
    key = load_private_key(arguments.key, passphrase)
    file = sign_blob(blob.data, key, arguments.counter or 0)
    signature = split_signed(file)[1]
    assert signature is not None
    report = {"blob_bytes": len(blob.data), "file_bytes": len(file), **describe(signature)}
    written = arguments.outputs.write("output", file)
    arguments.outputs.write_json(report)
    if written:
        print(
            f"{arguments.output}: {count(len(file))} B, counter {signature.counter}, "
            f"signed by key {report['fingerprint']}"
        )
    return 0


def describe(signature: Signature) -> dict[str, Any]:
    """What ``--json`` holds of a signature."""
    return {
        "counter": signature.counter,
        "public_key": signature.key.hex(),
        "fingerprint": fingerprint(signature.key),
    }


def _make_key(arguments: argparse.Namespace, passphrase: bytes | None) -> int:
    path = arguments.new_key
    if not is_stdout(path) and (os.path.islink(path) or Path(path).is_file()):
        raise UsageError(f"--new-key {path}: exists, and no key is overwritten; choose another")
    key = new_key()
    public = public_bytes(key)
    if arguments.outputs.write("new_key", key_pem(key, passphrase), _KEY_MODE):
        _write_public(arguments, public)
        print(f"{path}: key {fingerprint(public)}; keep it secret")
    return 0


def _show_public(arguments: argparse.Namespace, public: bytes) -> int:
    _write_public(arguments, public)
    print(public.hex())
    print(c_initializer(public))
    print(f"fingerprint {fingerprint(public)}")
    return 0


def _write_public(arguments: argparse.Namespace, public: bytes) -> None:
    arguments.outputs.write_json(
        {"public_key": public.hex(), "fingerprint": fingerprint(public)},
    )


def c_initializer(key: bytes) -> str:
    """The initializer of an array of bytes in C."""
    rows = [key[i : i + _BYTES_A_LINE] for i in range(0, len(key), _BYTES_A_LINE)]
    return "{" + ",\n ".join(", ".join(f"0x{byte:02x}" for byte in row) for row in rows) + "}"
