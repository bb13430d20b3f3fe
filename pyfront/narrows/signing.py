# SPDX-License-Identifier: Apache-2.0
"""Signed blob files: a blob, and behind it who signed it and how new it is (runtime/SPEC.md, Signed
blob files).

The signatures are Ed25519 (RFC 8032). Making and verifying them needs the package ``cryptography``;
reading a signed file does not.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from narrows.errors import BlobError, NarrowsError, ToolError, UsageError
from narrows.files import read_file
from narrows.stages.records import HEADER, Header
from narrows.stages.records import MAGIC as BLOB_MAGIC

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

PrivateKey: TypeAlias = "Ed25519PrivateKey"

MAGIC = b"NRWS"
VERSION = 1
TRAILER = struct.Struct("<4sHHI32s64sI")
MOST_COUNTER = 0xFFFFFFFF
_DOMAIN = b"NRWSIGN1"
_MESSAGE = struct.Struct("<8sII32s")
_CRC_BYTES = 4
_PUBLIC_PEM = b"-----BEGIN PUBLIC KEY-----"


@dataclass(frozen=True)
class Signature:
    """What stands behind the blob in a signed file.

    counter: 0 to ``MOST_COUNTER``; a board refuses a model whose counter is below its own model's.
    key: the signer's public key, 32 bytes. signature: 64 bytes, of ``signed_message``.
    """

    counter: int
    key: bytes
    signature: bytes

    def pack(self) -> bytes:
        """The trailer."""
        fields = (MAGIC, VERSION, 0, self.counter, self.key, self.signature)
        body = TRAILER.pack(*fields, 0)[:-_CRC_BYTES]
        return body + zlib.crc32(body).to_bytes(_CRC_BYTES, "little")

    def verifies(self, blob: bytes) -> bool:
        """Is it the key's signature of this blob with this counter? Whose key it is, is another
        question. Raises: ToolError: the package is not installed."""
        _need_package()
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        message = signed_message(blob, self.counter)
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(self.signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


def signed_message(blob: bytes, counter: int) -> bytes:
    """The 48 bytes that are signed: they stand for the blob, its length and the counter."""
    return _MESSAGE.pack(_DOMAIN, len(blob), counter, hashlib.sha256(blob).digest())


def sign_blob(blob: bytes, key: PrivateKey, counter: int = 0) -> bytes:
    """A signed file.

    Args:
        blob: without a signature.
        counter: 0 to ``MOST_COUNTER``.

    Raises: UsageError: the counter is out of range.
    """
    if not 0 <= counter <= MOST_COUNTER:
        raise UsageError(f"counter {counter}: give 0 to {MOST_COUNTER}")
    signature = key.sign(signed_message(blob, counter))
    return blob + Signature(counter, public_bytes(key), signature).pack()


def split_signed(data: bytes, name: str = "blob") -> tuple[bytes, Signature | None]:
    """The blob, and the signature that stands behind it; None if nothing does.

    Only the trailer is looked at. What is no blob, or is damaged up to where it ends, comes back as
    it is, for the runtime to refuse.

    Raises: BlobError: something stands behind the blob that is no signature, or a damaged one.
    """
    size = _blob_bytes(data)
    if size is None or size >= len(data):
        return data, None
    trailer = data[size:]

    def refused(what: str, at: int = 0) -> BlobError:
        return BlobError(f"{name}: {what} (byte {size + at})", offset=size + at)

    if not trailer.startswith(MAGIC[: len(trailer)]):
        raise refused("what stands behind the blob is no signature; copy it again or sign it anew")
    if len(trailer) < TRAILER.size:
        raise refused("its signature is cut short; copy it again or sign it anew", len(trailer))
    body, checksum = trailer[:-_CRC_BYTES], trailer[-_CRC_BYTES:]
    if zlib.crc32(body).to_bytes(_CRC_BYTES, "little") != checksum:
        raise refused("its signature is damaged (checksum); copy it again or sign it anew")
    _, version, reserved, counter, key, signature, _ = TRAILER.unpack_from(trailer)
    if version != VERSION:
        raise refused(f"its signature has version {version}, not {VERSION}; sign it anew", 4)
    if reserved != 0:
        raise refused("its signature has a reserved field that is not 0; sign it anew", 6)
    if len(trailer) > TRAILER.size:
        raise refused("its signature has bytes behind it; sign it anew", TRAILER.size)
    return data[:size], Signature(counter, key, signature)


def _blob_bytes(data: bytes) -> int | None:
    """As the header says, if there is one that is whole."""
    if len(data) < HEADER.size or data[: len(BLOB_MAGIC)] != BLOB_MAGIC:
        return None
    header = Header.unpack(data)
    if zlib.crc32(data[: HEADER.size - _CRC_BYTES]) != header.header_crc:
        return None
    return header.blob_bytes


# --- Keys -----------------------------------------------------------------------------------------


def fingerprint(key: bytes) -> str:
    """A short name of a public key: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(key).hexdigest()[:16]


def new_key() -> PrivateKey:
    """A new private key. Raises: ToolError: the package is not installed."""
    _need_package()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate()


def key_pem(key: PrivateKey, passphrase: bytes | None = None) -> bytes:
    """A private key as a PEM file (PKCS#8), encrypted if there is a passphrase."""
    from cryptography.hazmat.primitives import serialization as pem

    encryption: pem.KeySerializationEncryption = pem.NoEncryption()
    if passphrase is not None:
        encryption = pem.BestAvailableEncryption(passphrase)
    return key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, encryption)


def public_bytes(key: PrivateKey) -> bytes:
    """The public key of a private one: 32 bytes."""
    from cryptography.hazmat.primitives import serialization as pem

    return key.public_key().public_bytes(pem.Encoding.Raw, pem.PublicFormat.Raw)


def load_private_key(path: str | Path, passphrase: bytes | None = None) -> PrivateKey:
    """A PEM file, as ``imgtool keygen -t ed25519`` and ``openssl genpkey`` write it.

    Raises: NarrowsError: it cannot be read, is none, or is encrypted in another way than the
    passphrase says. ToolError: the package is not installed.
    """
    _need_package()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = _load_private(path, read_file(path, "key"), passphrase)
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_ed25519(path, key)
    return key


def load_public_key(path: str | Path, passphrase: bytes | None = None) -> bytes:
    """The 32 bytes of the public key in a PEM file of it, or of the private key.

    Raises: as ``load_private_key``.
    """
    _need_package()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as pem
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    data = read_file(path, "key")
    if _PUBLIC_PEM not in data:
        return public_bytes(load_private_key(path, passphrase))
    try:
        key = pem.load_pem_public_key(data)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _no_key(path) from error
    if not isinstance(key, Ed25519PublicKey):
        raise _no_ed25519(path, key)
    return key.public_bytes(pem.Encoding.Raw, pem.PublicFormat.Raw)


def _load_private(path: str | Path, data: bytes, passphrase: bytes | None) -> PrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as pem

    if _PUBLIC_PEM in data:
        raise NarrowsError(f"{path}: a public key, which only verifies; give the private key")
    try:
        return pem.load_pem_private_key(data, passphrase)
    except TypeError as error:  # with and without a passphrase are told apart by this alone
        if passphrase is None:
            raise NarrowsError(
                f"{path}: the key is encrypted; give its passphrase with --passphrase-file FILE"
            ) from error
        raise NarrowsError(
            f"{path}: the key is not encrypted; leave out --passphrase-file"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        if passphrase is not None and b"ENCRYPTED" in data:
            raise NarrowsError(
                f"{path}: the passphrase does not open the key, or the file is damaged"
            ) from error
        raise _no_key(path) from error


def _no_key(path: str | Path) -> NarrowsError:
    return NarrowsError(
        f"{path}: no key in a PEM file, or a damaged one; make one with 'narrows sign --new-key'"
    )


def _no_ed25519(path: str | Path, key: PrivateKeyTypes | PublicKeyTypes) -> NarrowsError:
    kind = type(key).__name__.lstrip("_").removesuffix("PrivateKey").removesuffix("PublicKey")
    return NarrowsError(
        f"{path}: a key of kind {kind}, not Ed25519; make one with 'narrows sign --new-key'"
    )


def _need_package() -> None:
    try:
        import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401
    except ImportError as error:
        raise ToolError(
            "signatures need the package cryptography: pip install 'narrows[sign]'"
        ) from error
